"""A CSV with the columns path,label[,split][,group] to a listing.

Our own manifest.csv is one; so an apostrophe before a formula, as `cells.py` writes it, is taken off again.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from transferkit.data import sniff
from transferkit.data.cells import original
from transferkit.data.listing import PARTS, Listing, PathTable, class_name
from transferkit.data.source import join
from transferkit.zoo.errors import DataError
from transferkit.zoo.text import printable

WANTED = "path,label[,split][,group]"
HEAD_BYTES = 512
BLANKS = " \t\r\n\f\v\u00a0\u200b\ufeff"  # and what no screen shows


def read(source: Path) -> Listing:
    """The images that a CSV names, in its order; relative paths count from its folder, other columns are left alone.

    Raises: DataError naming the line that cannot be used.
    """
    paths, labels, parts, groups = [], [], [], []
    for line, row in _rows(source):
        where = f"{source}, line {line}"
        if not row["path"]:
            raise DataError(f"{where}: the path is empty")
        if not row["label"]:
            raise DataError(f"{where}: the label is empty")
        part = row["split"].strip().casefold()
        if part and part not in PARTS:
            raise DataError(f"{where}: split {row['split']!r} is unknown; allowed: {', '.join(PARTS)} or nothing")
        paths.append(join(source.parent, row["path"]))
        labels.append(class_name(row["label"], source))
        parts.append(PARTS.get(part, ""))
        groups.append(row["group"])
    if not paths:
        raise DataError(f"{source} has no rows; one line an image is expected: path,label[,split]")
    classes = sorted(set(labels))
    number = {label: index for index, label in enumerate(classes)}
    return Listing(
        source=source,
        paths=PathTable.from_paths(paths),
        labels=np.array([number[label] for label in labels], np.int64),
        parts=np.array(parts, "<U5"),
        classes=tuple(classes),
        groups=np.array(groups) if any(groups) else None,
    )


def _rows(source: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and the four columns that count of each row; a missing split or group is empty."""
    with open(source, "rb") as file:
        _check_text(source, file.read(HEAD_BYTES))
    with open(source, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            names = _names(source, header)
            is_loose = names != header  # as in "path, label", where blanks stand before the values too
            for values in reader:
                if not values:
                    continue
                if len(values) != len(header):
                    raise DataError(f"{source}, line {reader.line_num}: {len(values)} values for {len(header)} columns")
                values = [value.strip() for value in values] if is_loose else values
                yield reader.line_num, {"split": "", "group": ""} | dict(zip(names, map(original, values)))
        except csv.Error as error:
            raise DataError(f"{source}, line {reader.line_num}: not valid CSV: {error}") from error


def _check_text(source: Path, start: bytes) -> None:
    """Raises: DataError if a file that begins like this is no text in UTF-8."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{source} is text in UTF-16; save it as CSV in UTF-8, with the columns {WANTED}")
    kind = sniff.kind(start)
    if kind == "damaged header":
        raise DataError(f"{source} is a photo; name the folder that holds the class folders, or a CSV with {WANTED}")
    if b"\0" in start or kind.endswith(")"):
        what = kind.removeprefix("not an image").strip(" ()") or "no text"
        raise DataError(f"{source} is {what}; a folder of class folders or a CSV with the columns {WANTED} is expected")


def _names(source: Path, header: list[str]) -> list[str]:
    """The names of the columns; case and blanks do not matter where the names would not be there otherwise.

    Raises: DataError that says what differs from the columns that are needed.
    """
    names = header if {"path", "label"} <= set(header) else [cell.strip(BLANKS).casefold() for cell in header]
    lacking = [name for name in ("path", "label") if name not in names]
    if lacking:
        shown = printable(", ".join(map(repr, header)))[:120]
        words = f"it lacks {' and '.join(lacking)}{_separated(header)}, its first line has {shown}"
        raise DataError(f"{source} is no CSV with the columns {WANTED}: {words}")
    for name in ("path", "label", "split", "group"):
        if names.count(name) > 1:
            raise DataError(f"{source} has {names.count(name)} columns called {name}; keep one of them")
    return names


def _separated(header: list[str]) -> str:
    for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and mark in header[0]:
            return f", its columns are separated by {name} instead of commas"
    return ""
