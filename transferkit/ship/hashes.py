"""MANIFEST.json: the SHA-256 of the files of a model folder, written last and checked before they are used."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transferkit.zoo.errors import ModelFileError
from transferkit.zoo.files import read_json, sha256, write_json

MANIFEST = "MANIFEST.json"
FORMAT_VERSION = 1
MAX_OBJECT_BYTES = 1 << 20


def write(folder: Path, names: Iterable[str]) -> None:
    """Write the manifest of the files of those names, relative to `folder`."""
    listed = {name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in names}
    write_json(folder / MANIFEST, {"format_version": FORMAT_VERSION, "files": listed})


def check(folder: Path, names: Iterable[str]) -> None:
    """Raise ModelFileError, naming the file, if one is missing, not in the manifest, or not the one that was saved."""
    listed = read_object(folder / MANIFEST).get("files")
    for name in names:
        try:
            expected = listed[name]["sha256"]
        except (KeyError, TypeError) as error:
            raise ModelFileError(f"{folder / MANIFEST} does not list {name}") from error
        if not (folder / name).is_file():
            raise ModelFileError(f"{folder / name} is missing")
        if sha256(folder / name) != expected:
            raise ModelFileError(f"{folder / name} is not the file that was saved: its SHA-256 differs from {MANIFEST}")


def read_object(path: Path) -> dict[str, Any]:
    """The object in a small JSON file. Raises: ModelFileError if it is none, or larger than 1 MB."""
    if path.is_file() and path.stat().st_size > MAX_OBJECT_BYTES:
        raise ModelFileError(f"{path} is larger than the {MAX_OBJECT_BYTES >> 20} MB allowed")
    value = read_json(path)
    if not isinstance(value, dict):
        raise ModelFileError(f"{path} holds a {type(value).__name__}, not an object")
    return value
