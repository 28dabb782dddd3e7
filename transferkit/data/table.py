"""Tables to a listing: path,label[,split][,group]; or path,labels; or path and a column for each class.

Our own manifest.csv is one; so an apostrophe before a formula, as `cells.py` writes it, is taken off again.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from transferkit import kinds
from transferkit.data import grouping, parts
from transferkit.data.columns import word
from transferkit.data.hints import NONE, Hints
from transferkit.data.label_columns import LabelColumns
from transferkit.data.listing import Listing, PathTable
from transferkit.data.places import Places
from transferkit.data.table_rows import TableRows
from transferkit.zoo.errors import DataError
from transferkit.zoo.text import printable


def read(source: Path, hints: Hints = NONE) -> Listing:
    """The images that a table names, in its order; relative paths count from its folder, other columns are left alone.

    Raises: DataError naming the line that cannot be used; UsageError if a hint names no column.
    """
    images = Images()
    images.add(source, hints)
    return images.listing(source, hints)


@dataclass(kw_only=True)
class Images:
    """What one table, or several, say of images."""

    labels: LabelColumns | None = None
    paths: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)  # as the table has them
    parts: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    named: list[str] = field(default_factory=list)  # by the column --group-by
    columns: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    def add(self, source: Path, hints: Hints, *, part: str = "") -> None:
        """Take in a table; `part` is that of its rows that name none. Raises: as `read`."""
        table = TableRows(source, hints)
        places = Places(source, encoding=table.encoding)
        self.labels = labels = self._same(table) if self.labels else table.taker
        for row in table.rows():
            kinds.present(labels).add(row.labels, row.where)
            own = row.part or part
            self.written.append(row.path)
            self.paths.append(places.find(row.path, own, row.where))
            self.parts.append(own)
            self.groups.append(row.group)
            self.named.append(row.named)
        if places.first_missing and not places.found and word(table.columns.path) != "path":  # else a run tells
            raise DataError(
                f"{source}: column {printable(table.columns.path)} names no photo that is there, such as "
                f"{printable(repr(places.first_missing))}; searched: {places.searched(part)}"
            )
        self.columns = table.names
        self.notes += [*table.notes, *([f"found by name: {places.example}"] if places.example else [])]

    def _same(self, table: TableRows) -> LabelColumns | None:
        """What takes the labels of a further table, if they are of the kind of those before."""
        if table.taker and self.labels and not self.labels.takes(table.taker):
            raise DataError(
                f"{table.source} has other columns for labels than the tables beside it; make them the same"
            )
        return self.labels

    def listing(self, source: Path, hints: Hints) -> Listing:
        """The listing of all that was taken in. Raises: DataError if that is nothing; UsageError."""
        if self.labels is None:
            raise DataError(f"{source} has no rows; one line an image is expected: path,label[,split]")
        labels, classes = self.labels.encoded()
        of_each = self.parts
        if not any(of_each):
            of_each = parts.by_first_folder([path.replace("\\", "/") for path in self.written])
            found = sorted({*of_each} - {""})
            self.notes += [f"parts are those of the folders in the paths: {', '.join(found)}"] if found else []
        listing = Listing(
            source=source,
            paths=PathTable.from_paths(self.paths),
            labels=labels,
            parts=np.array(of_each, "<U5"),
            classes=classes,
            task=self.labels.task,
            groups=np.array(self.groups) if any(self.groups) else None,
            notes=(*dict.fromkeys(self.notes), *self.labels.notes),
        )
        if not hints.group_by:
            return listing
        if any(self.named):
            return grouping.by_names(listing, self.named)
        return grouping.by_pattern(listing, hints.group_by, columns=[name for name in self.columns if name.strip()])
