"""The record of the images of a run: manifest.csv, and quarantine.csv, what was refused and why."""

import csv
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from transferkit.data import cells
from transferkit.data.listing import Listing
from transferkit.data.source import DecodeError, absolute, read_file, status

COLUMNS = ("path", "label", "split", "group", "bytes", "sha256")


def write_manifest(path: Path, listing: Listing, *, sha256: Sequence[str], bytes: Sequence[int]) -> None:
    """Replace `path` with one line an image, itself a valid DATA; paths are absolute, so that the file may be moved.

    Raises: StorageError if it cannot be written.
    """
    groups = listing.groups if listing.groups is not None else [""] * len(listing.paths)
    rows = (
        (absolute(image), listing.classes[label], part, group, size, digest)
        for image, label, part, group, size, digest in zip(
            listing.paths, listing.labels, listing.parts, groups, bytes, sha256, strict=True
        )
    )
    cells.write(path, COLUMNS, rows)


def write_quarantine(path: Path, refused: Iterable[tuple[str, str]]) -> None:
    """Replace `path` with one line for each (path, reason).

    Raises: StorageError if it cannot be written.
    """
    cells.write(path, ("path", "reason"), refused)


def fitted_by(folders: Iterable[Path]) -> dict[int, set[str]]:
    """Size to hashes of the files that runs have trained or validated on; none where nothing is known.

    Args: folders of runs, or of the models in them.
    """
    found: dict[int, set[str]] = {}
    for folder in folders:
        path = (folder.parent if folder.name == "model" else folder) / "manifest.csv"
        try:
            with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
                for row in csv.DictReader(file):
                    if row["split"] in ("train", "val"):
                        found.setdefault(int(row["bytes"]), set()).add(row["sha256"])
        except (OSError, KeyError, ValueError, TypeError, csv.Error):  # another file of that name, or a damaged one
            continue
    return found


def among(paths: Iterable[Path], fitted: dict[int, set[str]]) -> np.ndarray:
    """Which files are among those of `fitted_by`; one whose size is not there is not read."""
    return np.array([_is_among(path, fitted) for path in paths], bool)


def _is_among(path: Path, fitted: dict[int, set[str]]) -> bool:
    found = status(path) if fitted else None
    if found is None or found.bytes not in fitted:
        return False
    try:
        return hashlib.sha256(read_file(path)).hexdigest() in fitted[found.bytes]
    except DecodeError:
        return False
