"""The record of the images of a run: manifest.csv, and quarantine.csv, what was refused and why."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from transferkit.data.listing import Listing
from transferkit.data.source import absolute
from transferkit.zoo import files


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
    _write(path, ("path", "label", "split", "group", "bytes", "sha256"), rows)


def write_quarantine(path: Path, refused: Iterable[tuple[str, str]]) -> None:
    """Replace `path` with one line for each (path, reason).

    Raises: StorageError if it cannot be written.
    """
    _write(path, ("path", "reason"), refused)


def _write(path: Path, columns: tuple[str, ...], rows: Iterable[tuple]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)  # RFC 4180: quotes doubled, lines end in CRLF
    writer.writerow(columns)
    writer.writerows(rows)
    files.write_text(path, text.getvalue())
