"""The record of the images of a run: manifest.csv, and quarantine.csv, what was refused and why."""

import csv
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from transferkit.data import cells
from transferkit.data.listing import Listing
from transferkit.data.source import absolute

Fitted = dict[int, set[str]]  # size of a file to the hashes of those of that size

COLUMNS = ("split", "group", "bytes", "sha256")  # after the path and the label


def write_manifest(path: Path, listing: Listing, *, sha256: Sequence[str], bytes: Sequence[int]) -> None:
    """Replace `path` with one line an image, itself a valid DATA; paths are absolute, so that the file may be moved.

    Raises: StorageError if it cannot be written.
    """
    groups = listing.groups if listing.groups is not None else [""] * len(listing.paths)
    rows = (
        (absolute(image), listing.task.text(label, listing.classes), part, group, size, digest)
        for image, label, part, group, size, digest in zip(
            listing.paths, listing.labels, listing.parts, groups, bytes, sha256, strict=True
        )
    )
    cells.write(path, ("path", listing.task.column, *COLUMNS), rows)


def write_quarantine(path: Path, refused: Iterable[tuple[str, str]]) -> None:
    """Replace `path` with one line for each (path, reason).

    Raises: StorageError if it cannot be written.
    """
    cells.write(path, ("path", "reason"), refused)


def run_of(folder: Path) -> Path:
    """The folder of a run, given that or the model folder in it; a run may be called "model" too."""
    return folder.parent if folder.name == "model" and not (folder / "model").is_dir() else folder


def fitted_by(folders: Iterable[Path]) -> Fitted:
    """Size to hashes of the files that runs have trained or validated on; none where nothing is known.

    Args: folders of runs, or of the models in them.
    """
    found: Fitted = {}
    for folder in folders:
        path = run_of(folder) / "manifest.csv"
        try:
            with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
                for row in csv.DictReader(file):
                    if row["split"] in ("train", "val"):
                        found.setdefault(int(row["bytes"]), set()).add(row["sha256"])
        except (OSError, KeyError, ValueError, TypeError, csv.Error):  # another file of that name, or a damaged one
            continue
    return found


def is_among(content: bytes, fitted: Fitted) -> bool:
    """Whether a file of that content is among those of `fitted_by`."""
    return len(content) in fitted and hashlib.sha256(content).hexdigest() in fitted[len(content)]
