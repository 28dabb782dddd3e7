"""MANIFEST.json: the SHA-256 of the files of a model folder, written last and checked before they are used.

Whoever opens a model folder of ours, to predict with it or to start from it, asks `own_block` for its configuration
and `check` for its weights.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transferkit.zoo.errors import ModelFileError
from transferkit.zoo.files import read_json, sha256, write_json

MANIFEST, CONFIG, WEIGHTS = "MANIFEST.json", "config.json", "model.safetensors"
OWN = "transferkit"  # the key of a config.json that we wrote
FORMAT_VERSION = 1
MAX_OBJECT_BYTES = 1 << 20
HASH = re.compile("[0-9a-f]{64}")


def write(folder: Path, names: Iterable[str]) -> None:
    """Write the manifest of the files of those names, relative to `folder`."""
    listed = {name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in names}
    write_json(folder / MANIFEST, {"format_version": FORMAT_VERSION, "files": listed})


def own_block(folder: Path) -> Any:
    """What stands under `transferkit` in a folder's config.json, known to be what was saved; None for others' folders.

    Raises: ModelFileError if it was changed, or if a folder of ours has no manifest.
    """
    if (folder / MANIFEST).is_file() and not (folder / CONFIG).is_file():
        raise ModelFileError(f"{folder / CONFIG} is missing")
    own = read_object(folder / CONFIG).get(OWN)
    if (folder / MANIFEST).is_file() and (own is not None or _is_ours(folder)):
        check(folder, [CONFIG])
        if isinstance(own, dict) and "ensemble" not in own and WEIGHTS not in _listed(folder / MANIFEST):
            raise ModelFileError(f"{folder / MANIFEST} does not list {WEIGHTS}")
    elif own is not None:
        raise ModelFileError(
            f"{folder / MANIFEST} is missing: the folder was not written to its end, or not copied whole"
        )
    return own


def check_listed(file: Path) -> None:
    """Raise ModelFileError if a file that a manifest of ours beside it lists is not the one that was saved."""
    if (file.parent / MANIFEST).is_file() and _is_ours(file.parent) and file.name in _listed(file.parent / MANIFEST):
        check(file.parent, [file.name])


def _is_ours(folder: Path) -> bool:
    """Whether the manifest is one of ours: a damaged config.json may have lost its key."""
    return {"format_version", "files"} <= read_object(folder / MANIFEST).keys()


def check(folder: Path, names: Iterable[str]) -> None:
    """Raise ModelFileError, naming the file, if one is missing, not in the manifest, or not the one that was saved."""
    listed = _listed(folder / MANIFEST)
    for name in names:
        if name not in listed:
            raise ModelFileError(f"{folder / MANIFEST} does not list {name}")
        if not (folder / name).is_file():
            raise ModelFileError(f"{folder / name} is missing")
        if sha256(folder / name) != listed[name]:
            raise ModelFileError(f"{folder / name} is not the file that was saved: its SHA-256 differs from {MANIFEST}")


def _listed(path: Path) -> dict[str, str]:
    """The hash of each file in a manifest. Raises: ModelFileError if there is anything else in it."""
    if not path.is_file():
        raise ModelFileError(f"{path} is missing")
    manifest = read_object(path)
    if manifest.get("format_version") != FORMAT_VERSION:
        version = manifest.get("format_version")
        raise ModelFileError(f"{path} has format_version {version!r}; this version reads {FORMAT_VERSION}")
    files = manifest.get("files")
    found = {}
    for name, entry in files.items() if isinstance(files, dict) else ():
        expected = entry.get("sha256") if isinstance(entry, dict) else None
        if not isinstance(expected, str) or not HASH.fullmatch(expected):
            raise ModelFileError(f"{path} is damaged: it gives {name!r} no SHA-256 of 64 digits")
        found[name] = expected
    return found


def read_object(path: Path) -> dict[str, Any]:
    """The object in a small JSON file. Raises: ModelFileError if it is none, or larger than 1 MB."""
    if path.is_file() and path.stat().st_size > MAX_OBJECT_BYTES:
        raise ModelFileError(f"{path} is larger than the {MAX_OBJECT_BYTES >> 20} MB allowed")
    value = read_json(path)
    if not isinstance(value, dict):
        raise ModelFileError(f"{path} holds a {type(value).__name__}, not an object")
    return value
