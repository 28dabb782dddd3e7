"""The folder for what can be had again, and which files in it are ours: those alone are ever removed.

A folder is ours if it holds our CACHEDIR.TAG, if it is empty, or if nothing lies in it but what only we write. A folder
that holds anything else is left as it is; the cache is then a sub-folder `transferkit` of it.

Source: https://bford.info/cachedir/ for the first line of the tag, by which backup programs know what to leave out.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from transferkit.zoo import files
from transferkit.zoo.errors import ModelFileError, StorageError, UsageError

TAG = "CACHEDIR.TAG"
OURS = "# transferkit keeps here what it can make again; `transferkit cache clear` removes it."
CONTENT = f"Signature: 8a477f597d28d172789f06886806bc55\n{OURS}\n"
UNFINISHED = re.compile(r"(^|/)\.([^/]+)\.\d+\.tmp$")  # how zoo.files calls a file until it is whole

_HEX16, _HEX64 = "[0-9a-f]{16}", "[0-9a-f]{64}"
_SCRATCH = "tmp[a-z0-9_]{8}"  # of tempfile
NO_LIMIT = 1 << 62  # bytes


class Kind(NamedTuple):
    """A sort of entries: which paths below its folder only we write, and how much of the disk they may take."""

    title: str
    names: str
    limit_bytes: int = NO_LIMIT
    disk_parts: int = 1  # of what the disk has left, its own files counted as left, it takes one of so many parts
    trimmed: float = 1.0  # share of the limit that is left when it was full
    in_folders: bool = False  # what lies in one folder goes together, and was used when the folder's time says


KINDS = {  # sub-folder of the cache: all that showing, clearing and making room know of it
    "pixels": Kind(
        "decoded photos",
        rf"\d+(-[\w.+]+)+/[0-9a-f]{{2}}/([0-9a-f]{{62}}|{_SCRATCH})",
        limit_bytes=20_000_000_000,  # 30,000 phone photos
        disk_parts=10,
        trimmed=0.9,
    ),
    "known": Kind("hashes of files", rf"files\.sqlite(-journal|-wal|-shm)?|{_HEX64}\.json"),
    "shards": Kind("what is in tar shards", rf"{_HEX16}/(shards\.json|shards\.safetensors)"),
    "archives": Kind("unpacked archives", rf"{_HEX64}/(complete\.json|files/.+)|\.{_HEX64}\.{_SCRATCH[3:]}/.+"),
    "features": Kind(
        "features of frozen networks",
        rf"{_HEX64}/[\w-]+\.{_HEX16}\.safetensors",
        limit_bytes=4 << 30,  # 800,000 images in two views of 640 numbers
        in_folders=True,  # one a network
    ),
    "copies": Kind("which photos are near copies", rf"{_HEX64}\.json", limit_bytes=64 << 20),
    "networks": Kind("networks as they were built", rf"{_HEX64}\.safetensors", limit_bytes=2 << 30),  # 6 of vit_base
    "timings": Kind("what was timed on this machine", rf"{_HEX64}\.json"),
    "maps": Kind("heat maps of reports", rf"{_HEX64}\.json"),
    "names": Kind("names of networks", r"\w+-\d[\w.+]*(-\w+-\d[\w.+]*)*\.json"),
    "weights": Kind("weights as safetensors", rf"[\w.-]+-[0-9a-f]{{8,64}}\.(safetensors|json)|{_SCRATCH}/.+"),
}


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
    mark(folder)
    return folder


def mark(folder: Path) -> None:
    """Say in a folder that it is ours, if it can be written."""
    if not _is_tagged(folder):
        with suppress(StorageError):  # what then writes there says so
            files.write_text(folder / TAG, CONTENT)


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
    return name in KINDS and (folder / name).is_dir() and all(is_ours for _, is_ours in walked(folder, name))


def walked(folder: Path, kind: str) -> Iterator[tuple[str, bool]]:
    """Every file and link in a kind's folder that is no link itself, and whether only we write such a path.

    No objects: there may be 30,000.
    """
    top, ours = os.path.join(folder, kind, ""), re.compile(KINDS[kind].names)
    for parent, folders, names in () if os.path.islink(folder / kind) else os.walk(top):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in (*names, *links):
            path = os.path.join(parent, name)
            relative = path.removeprefix(top).replace(os.sep, "/")
            yield path, ours.fullmatch(UNFINISHED.sub(r"\1\2", relative)) is not None
