"""A CSV with the columns path,label[,split][,group] to a listing; or path,labels, or path and a column for each class.

Our own manifest.csv is one; so an apostrophe before a formula, as `cells.py` writes it, is taken off again.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from transferkit.data import grouping, sniff
from transferkit.data.cells import original
from transferkit.data.label_columns import COLUMNS, BarredLabels, LabelColumns, OneLabel, Switches
from transferkit.data.listing import PARTS, Listing, PathTable
from transferkit.data.source import join
from transferkit.zoo.errors import DataError
from transferkit.zoo.text import printable

WANTED = "path,label[,split][,group] or path,labels"
KNOWN = ("path", *COLUMNS, "split", "group")
HEAD_BYTES = 512
BLANKS = " \t\r\n\f\v\u00a0\u200b\ufeff"  # and what no screen shows


def read(source: Path, *, group_by: str | None = None) -> Listing:
    """The images that a CSV names, in its order; relative paths count from its folder, other columns are left alone.

    Args: group_by, a column with names of groups, beside `group`, or a pattern of `grouping`.

    Raises: DataError naming the line that cannot be used.
    """
    paths, parts, groups, more, columns = [], [], [], [], []
    labels: LabelColumns | None = None
    for line, row in _rows(source):
        where = f"{source}, line {line}"
        if group_by and group_by in row:
            more.append(row[group_by] if group_by in KNOWN else row.pop(group_by))
        columns = columns or [name for name in row if row[name] or name not in ("split", "group")]
        labels = labels or _label_columns(source, row, line)
        if not row["path"]:
            raise DataError(f"{where}: the path is empty")
        labels.add(row, where)
        part = row["split"].strip().casefold()
        if part and part not in PARTS:
            raise DataError(f"{where}: split {row['split']!r} is unknown; allowed: {', '.join(PARTS)} or nothing")
        paths.append(join(source.parent, row["path"]))
        parts.append(PARTS.get(part, ""))
        groups.append(row["group"])
    if labels is None:
        raise DataError(f"{source} has no rows; one line an image is expected: path,label[,split]")
    encoded, classes = labels.encoded()
    listing = Listing(
        source=source,
        paths=PathTable.from_paths(paths),
        labels=encoded,
        parts=np.array(parts, "<U5"),
        classes=classes,
        task=labels.task,
        groups=np.array(groups) if any(groups) else None,
        notes=labels.notes,
    )
    if not group_by:
        return listing
    return grouping.by_names(listing, more) if any(more) else grouping.by_pattern(listing, group_by, columns=columns)


def _rows(source: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and the columns of each row; a missing split or group is empty."""
    with open(source, "rb") as file:
        _check_text(source, file.read(HEAD_BYTES))
    with open(source, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [original(cell) for cell in next(reader, [])]
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
        raise DataError(f"{source} is {what}; expected: a folder of class folders or a CSV with the columns {WANTED}")


def _label_columns(source: Path, first: dict[str, str], line: int) -> LabelColumns:
    """What takes the labels of rows like the first one, in that line. Raises: DataError if there are none in it."""
    if "labels" in first:
        return BarredLabels(source)
    if "label" in first:
        return OneLabel(source)
    switches = Switches(source, [name for name in first if name not in KNOWN])
    if column := switches.unswitched(first):
        cell = f"{printable(repr(first[column]))[:120]} in column {printable(column)}"
        raise DataError(
            f"{_lacking(source, list(first)[2:], ['label'])}; line {line}: {cell}; without a column label, every other "
            "column is a class, with 0 or 1 in each row"
        )
    return switches


def _names(source: Path, header: list[str]) -> list[str]:
    """The names of the columns; case and blanks of those known do not matter where they would not be there otherwise.

    Raises: DataError that says what differs from the columns that are needed.
    """
    names = header
    if "path" not in header or not {*COLUMNS} & {*header}:
        bare = [cell.strip(BLANKS) for cell in header]
        names = [cell.casefold() if cell.casefold() in KNOWN else cell for cell in bare]
    others = [name for name in names if name not in KNOWN]
    has_labels = {*COLUMNS} & {*names} or (others and "path" in names)
    lacking = [name for name, is_there in (("path", "path" in names), ("label", has_labels)) if not is_there]
    if lacking:
        raise _lacking(source, header, lacking)
    if {*COLUMNS} <= {*names}:
        raise DataError(f"{source} has a column label and a column labels; keep one of them")
    for name in KNOWN if {*COLUMNS} & {*names} else names:  # all others are classes
        if names.count(name) > 1:
            raise DataError(f"{source} has {names.count(name)} columns called {name}; keep one of them")
    return names


def _lacking(source: Path, header: list[str], names: list[str]) -> DataError:
    shown = printable(", ".join(map(repr, header)))[:120]
    words = f"it lacks {' and '.join(names)}{_separated(header)}, its first line has {shown}"
    return DataError(f"{source} is no CSV with the columns {WANTED}: {words}")


def _separated(header: list[str]) -> str:
    for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and mark in header[0]:
            return f", its columns are separated by {name} instead of commas"
    return ""
