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
    manifest = read_object(folder / MANIFEST) if (folder / MANIFEST).is_file() else None
    if manifest is None and own is not None:
        raise ModelFileError(
            f"{folder / MANIFEST} is missing: the folder was not written to its end, or not copied whole"
        )
    if manifest is not None and (own is not None or _is_ours(manifest)):
        listed = _listed(manifest, folder)
        _compare(folder, [CONFIG], listed)
        if isinstance(own, dict) and "ensemble" not in own and WEIGHTS not in listed:
            raise ModelFileError(f"{folder / MANIFEST} does not list {WEIGHTS}")
    return own


def check_listed(file: Path) -> None:
    """Raise ModelFileError if a file that a manifest of ours beside it lists is not the one that was saved."""
    folder = file.parent
    if (folder / MANIFEST).is_file() and _is_ours(manifest := read_object(folder / MANIFEST)):
        listed = _listed(manifest, folder)
        _compare(folder, {file.name} & listed.keys(), listed)


def check(folder: Path, names: Iterable[str]) -> None:
    """Raise ModelFileError, naming the file, if one is missing, not in the manifest, or not the one that was saved."""
    if not (folder / MANIFEST).is_file():
        raise ModelFileError(f"{folder / MANIFEST} is missing")
    _compare(folder, names, _listed(read_object(folder / MANIFEST), folder))


def _is_ours(manifest: dict[str, Any]) -> bool:
    """Whether a manifest is one of ours: a damaged config.json may have lost its key."""
    return {"format_version", "files"} <= manifest.keys()


def _compare(folder: Path, names: Iterable[str], listed: dict[str, str]) -> None:
    for name in names:
        if name not in listed:
            raise ModelFileError(f"{folder / MANIFEST} does not list {name}")
        if not (folder / name).is_file():
            raise ModelFileError(f"{folder / name} is missing")
        if sha256(folder / name) != listed[name]:
            raise ModelFileError(f"{folder / name} is not the file that was saved: its SHA-256 differs from {MANIFEST}")


def _listed(manifest: dict[str, Any], folder: Path) -> dict[str, str]:
    """The hash of each file in the manifest of a folder. Raises: ModelFileError if there is anything else in it."""
    path = folder / MANIFEST
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
