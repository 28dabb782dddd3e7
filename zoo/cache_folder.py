"""The folder for what can be had again, and which files in it are ours: those alone are ever removed.

A folder is ours if it holds our CACHEDIR.TAG, if it is empty, or if nothing lies in it but what only we write. A folder
that holds anything else is left as it is; the cache is then a sub-folder `transferkit` of it.

Source: https://bford.info/cachedir/ for the first line of the tag, by which backup programs know what to leave out.
"""

import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from transferkit.zoo import files
from transferkit.zoo.errors import ModelFileError, StorageError, UsageError

KINDS = {  # sub-folder of the cache: what is in it
    "pixels": "decoded photos",
    "known": "hashes of files",
    "shards": "what is in tar shards",
    "features": "features of frozen networks",
    "networks": "networks as they were built",
    "timings": "what was timed on this machine",
    "names": "names of networks",
    "weights": "downloaded networks",
}
TAG = "CACHEDIR.TAG"
OURS = "# transferkit keeps here what it can make again; `transferkit cache clear` removes it."
CONTENT = f"Signature: 8a477f597d28d172789f06886806bc55\n{OURS}\n"

_HEX16, _HEX64 = "[0-9a-f]{16}", "[0-9a-f]{64}"
_SCRATCH = "tmp[a-z0-9_]{8}"  # of tempfile
NAMES = {  # kind: the paths below its folder that only we write
    "pixels": rf"\d+(-[\w.+]+)+/[0-9a-f]{{2}}/([0-9a-f]{{62}}|{_SCRATCH})",
    "known": rf"files\.sqlite(-journal|-wal|-shm)?|{_HEX64}\.json",
    "shards": rf"{_HEX16}/(shards\.json|shards\.safetensors)",
    "features": rf"{_HEX64}/[\w-]+\.{_HEX16}\.safetensors",
    "networks": rf"{_HEX64}\.safetensors",
    "timings": rf"{_HEX64}\.json",
    "names": r"timm-[\w.+]+-torchvision-[\w.+]+\.json",
    "weights": rf"[\w.-]+-[0-9a-f]{{8,64}}\.(safetensors|json)|{_SCRATCH}/.+",
}
PATTERNS = {kind: re.compile(pattern) for kind, pattern in NAMES.items()}
UNFINISHED = re.compile(r"(^|/)\.([^/]+)\.\d+\.tmp$")  # how zoo.files calls a file until it is whole


class Entry(NamedTuple):
    """A file of ours in the cache."""

    used: float  # seconds since the epoch
    bytes: int
    path: Path


def default() -> Path:
    """`$TRANSFERKIT_CACHE`, else a folder in the user's cache folder."""
    if chosen := os.environ.get("TRANSFERKIT_CACHE"):
        return Path(chosen)
    if system := os.environ.get("XDG_CACHE_HOME"):
        return Path(system) / "transferkit"
    try:
        return Path.home() / ".cache" / "transferkit"
    except RuntimeError:  # a user without a home, as in some containers
        return Path(tempfile.gettempdir()) / "transferkit"


def find(given: str | os.PathLike | None = None) -> Path:
    """The folder that is used where `given`, or nothing, is named as the cache; writes nothing."""
    folder = Path(given) if given else default()
    while not _is_free(folder):
        folder = folder / "transferkit"
    return folder


def opened(given: str | os.PathLike | None = None) -> Path:
    """The same, marked as ours from now on, if it can be written."""
    folder = find(given)
    if not _is_tagged(folder):
        with suppress(StorageError):  # what then writes there says so
            files.write_text(folder / TAG, CONTENT)
    return folder


def entries(folder: Path, kind: str) -> list[Entry]:
    """The files of ours of one kind, those not used for longest first; no link, and nothing behind one."""
    found = []
    for path, relative in _walked(folder / kind):
        if _is_ours(relative, kind):
            with suppress(OSError):  # removed meanwhile
                status = os.lstat(path)
                if stat.S_ISREG(status.st_mode):
                    found.append(Entry(status.st_mtime, status.st_size, Path(path)))
    return sorted(found)


def clear(folder: Path, kind: str) -> None:
    """Remove the files of ours of one kind, and the folders that are empty then. Raises: StorageError."""
    top = folder / kind
    with files.storage_errors(top):
        for entry in entries(folder, kind):
            entry.path.unlink(missing_ok=True)
            for parent in entry.path.parents:
                with suppress(OSError):  # something else is in it
                    parent.rmdir()
                if parent == top:
                    break


def write(path: Path, content: dict[str, Any]) -> None:
    """Replace a JSON file of the cache, with a checksum in it. Raises: StorageError."""
    files.write_json(path, content | {"check": digest(content)})


def read(path: Path) -> dict[str, Any] | None:
    """What is in a JSON file of the cache; None if it is not there, cannot be read or is not as it was written."""
    with suppress(UsageError, ModelFileError, StorageError, OSError):
        found = files.read_json(path)
        if isinstance(found, dict) and found.pop("check", None) == digest(found):
            return found
    return None


def digest(content: dict[str, Any]) -> str:
    """The SHA-256 of plain data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _is_free(folder: Path) -> bool:
    """Whether a cache may be there: nothing is, or it is ours, or it is no folder, where nothing can be kept."""
    try:
        names = os.listdir(folder)
    except OSError:
        return True
    if any(os.path.islink(folder / kind) for kind in KINDS):
        return False
    return _is_tagged(folder) or all(_is_adopted(folder, name) for name in names)


def _is_tagged(folder: Path) -> bool:
    return OURS in _holds(folder / TAG).splitlines()


def _holds(path: Path) -> str:
    """The start of a file; nothing if it cannot be read, or is being put in its place."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(4096)
    except (OSError, ValueError):
        return ""


def _is_adopted(folder: Path, name: str) -> bool:
    """Whether an entry of an unmarked folder can only have been made by us: by an earlier version, or a moment ago."""
    if name == TAG:
        return _is_tagged(folder)  # by another process, a moment ago
    if UNFINISHED.sub(r"\2", name) == TAG:
        return CONTENT.startswith(_holds(folder / name))
    path = folder / name
    if name not in KINDS or not path.is_dir():
        return False
    return all(_is_ours(relative, name) for _, relative in _walked(path))


def _is_ours(relative: str, kind: str) -> bool:
    return PATTERNS[kind].fullmatch(UNFINISHED.sub(r"\1\2", relative)) is not None


def _walked(folder: Path) -> Iterator[tuple[str, str]]:
    """Every file and link below a folder that is no link, and its path from there; no objects: there may be 30,000."""
    if os.path.islink(folder):
        return
    start = os.path.join(folder, "")
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in (*names, *links):
            path = os.path.join(parent, name)
            yield path, path.removeprefix(start).replace(os.sep, "/")
