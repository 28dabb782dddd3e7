"""A CSV with the columns path,label[,split][,group] to a listing."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from transferkit.data.listing import PARTS, Listing, PathTable, class_name
from transferkit.data.source import join
from transferkit.zoo.errors import DataError


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
        if row["split"] and row["split"] not in PARTS:
            raise DataError(f"{where}: split {row['split']!r} is unknown; allowed: {', '.join(PARTS)} or nothing")
        paths.append(join(source.parent, row["path"]))
        labels.append(class_name(row["label"], source))
        parts.append(PARTS.get(row["split"], ""))
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
    with open(source, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            if "path" not in header or "label" not in header:
                shown = ", ".join(header)[:80].encode("utf-8", "replace").decode()
                raise DataError(
                    f"{source} is no CSV with the columns path,label[,split]; its first line has: {shown!r}"
                )
            for values in reader:
                if not values:
                    continue
                if len(values) != len(header):
                    raise DataError(f"{source}, line {reader.line_num}: {len(values)} values for {len(header)} columns")
                yield reader.line_num, {"split": "", "group": ""} | dict(zip(header, values))
        except csv.Error as error:
            raise DataError(f"{source}, line {reader.line_num}: not valid CSV: {error}") from error
