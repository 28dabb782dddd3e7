"""The images of a data set as plain arrays: where they are, their class, their part, their group."""

import os
import unicodedata
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import SupportsIndex

import numpy as np

from transferkit.data.hints import NONE, Hints
from transferkit.data.source import Member
from transferkit.tasks import SINGLE_LABEL, Task
from transferkit.zoo.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic")
IMAGE_SUFFIXES += (".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jxl", ".dcm")
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}  # as written, as meant


class PathTable(Sequence):
    """A sequence of paths in one buffer: a million of them cost their bytes, not a million objects.

    >>> table = PathTable.from_paths(["a/1.png", "b/2.png"])
    >>> len(table), table[1].name
    (2, '2.png')
    """

    def __init__(self, buffer: bytes, ends: np.ndarray):
        self._buffer = buffer
        self._ends = ends  # (N,) int64; path i is buffer[ends[i - 1] : ends[i]]

    @classmethod
    def from_paths(cls, paths: Iterable[str | bytes | Path]) -> "PathTable":
        """The table of `paths`, in their order."""
        buffer, ends = bytearray(), array("q")
        for path in paths:
            buffer += os.fsencode(path)
            ends.append(len(buffer))
        return cls(bytes(buffer), np.array(ends, np.int64))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, row: SupportsIndex) -> Path:
        return Path(os.fsdecode(self._bytes(range(len(self))[row])))

    def subset(self, rows: np.ndarray) -> "PathTable":
        """The table of the paths at `rows`, in that order."""
        return PathTable.from_paths(self._bytes(row) for row in rows)

    def _bytes(self, row: int) -> bytes:
        start = self._ends[row - 1] if row else 0
        return self._buffer[start : self._ends[row]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Listing:
    """The images of DATA, none of them opened yet.

    `task` says what the labels are; `parts` is "train", "val", "test" or "" for not assigned; `classes` is in order of
    label; images of one name in `groups` must not be divided ("" is no group); `ignored` and `refused` pair a path
    relative to `source` with the reason: what is no image, and an image that cannot be used; `notes` say how DATA was
    understood, `hints` what was said of it. `source` is a str where DATA is a pattern of shards, and where an
    archive is unpacked, whose own path is `given`.

    Shapes: paths of length N; labels (N,) int64, or as the task has them; parts (N,) str; groups (N,) str or None.
    """

    source: Path | str
    paths: PathTable
    labels: np.ndarray
    parts: np.ndarray
    classes: tuple[str, ...]
    task: Task = SINGLE_LABEL
    groups: np.ndarray | None = None
    ignored: tuple[tuple[str, str], ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    hints: Hints = NONE
    given: str = ""

    @property
    def data(self) -> str:
        """DATA as it was given."""
        return self.given or str(self.source)

    @property
    def arguments(self) -> tuple[str, ...]:
        """DATA, and what was said of it, as a command takes them."""
        return (self.data, *self.hints.arguments)

    def subset(self, rows: np.ndarray) -> "Listing":
        """The listing of some rows; classes stay, also those that have no image left."""
        groups = None if self.groups is None else self.groups[rows]
        return replace(
            self, paths=self.paths.subset(rows), labels=self.labels[rows], parts=self.parts[rows], groups=groups
        )

    def part(self, wanted: str | None) -> tuple[str, np.ndarray]:
        """The part to score and its rows: "all" or one of the parts, else test if there is one, else val, else all.

        Raises: DataError if there is none of it.
        """
        if wanted is None:
            wanted = next((name for name in ("test", "val") if (self.parts == name).any()), "all")
        rows = np.arange(len(self.parts)) if wanted == "all" else np.flatnonzero(self.parts == wanted)
        if not len(rows):
            raise DataError(f"the data has no {wanted} part; use --part all")
        return wanted, rows

    def relative(self, row: int) -> str:
        """The path of an image relative to the folder, or to that of the CSV, with forward slashes."""
        path = self.paths[row]
        if member := Member.of(path):
            return f"{os.path.basename(member.shard)}/{member.name}"
        base = Path(self.source)
        base = base if base.is_dir() else base.parent
        return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()


def class_name(name: str, where: Path) -> str:
    """The class name in NFC.

    Raises: DataError if it is not valid Unicode, as no JSON file could then hold it.
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"class name {name!r} in {where.parent} is not valid UTF-8; rename it") from error
    return unicodedata.normalize("NFC", name)
