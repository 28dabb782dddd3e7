"""The rows of a table by what their columns mean: a photo, its labels as text, its part and its group."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from transferkit.data import columns, table_text
from transferkit.data.columns import LABELS
from transferkit.data.hints import Hints
from transferkit.data.label_columns import SWITCHES, BarredLabels, LabelColumns, OneLabel, Switches
from transferkit.data.listing import PARTS
from transferkit.data.parts import ANY_WORD, PART_OF
from transferkit.tasks.multi_label import BAR
from transferkit.zoo.errors import DataError
from transferkit.zoo.text import printable

FLAG = re.compile(rf"is(?:{ANY_WORD})(?:image|set)?")  # as is_valid
NO_PATH = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")  # a zero, or half a character of JSON
DOCUMENTED = tuple(PARTS)


class Row(NamedTuple):
    """A row; `labels` is what a `LabelColumns` adds, `named` what the column --group-by says, where it is one."""

    where: str
    path: str
    labels: dict[str, str]
    part: str
    group: str
    named: str


class TableRows:
    """The rows of one table. Fields: names, of its columns; columns, what they mean; notes, how it was understood."""

    def __init__(self, source: Path, hints: Hints):
        """Raises: DataError if it is no table that can be used, UsageError if a hint names no column."""
        self._table = table_text.read(source, fit=columns.fit)
        self._hints = hints
        self.source = source
        self.encoding = self._table.encoding
        self.names = self._table.columns
        found = columns.of(source, self.names, label_column=hints.label_column)
        self.columns = replace(found, others=tuple(name for name in found.others if name != hints.group_by))
        self.notes = [*self._table.notes]
        self._several = False
        first = next(self._table.rows(), None)
        self.taker = self._taker(*first) if first else None
        self.notes += filter(None, (self.columns.note, self._unread()))

    def rows(self) -> Iterator[Row]:
        """Every row. Raises: DataError naming the line that cannot be used."""
        found, group_by = self.columns, self._hints.group_by
        for line, raw in self._table.rows():
            where = f"{self.source}, line {line}"
            path, part = self._text(raw, found.path, where), self._text(raw, found.split, where)
            if not path:
                raise DataError(f"{where}: the path is empty")
            if NO_PATH.search(path):
                raise DataError(f"{where}: {printable(repr(path))[:120]} cannot be the path of a file")
            yield Row(
                where=where,
                path=path,
                labels=self._labels(raw, where),
                part=self._part(part, where),
                group=self._text(raw, found.group, where),
                named=self._text(raw, group_by, where) if group_by in self.names else "",
            )

    def _text(self, raw: dict[str, Any], name: str | None, where: str) -> str:
        """A value as a CSV would have it; "" where there is none."""
        value = raw.get(name) if name is not None else None
        if isinstance(value, list) and name == self.columns.label and self._several:
            value = BAR.join(self._each(value, where))
        elif isinstance(value, (bool, int, float)):
            value = json.dumps(value)
        elif isinstance(value, (dict, list)):
            shown = printable(json.dumps(value))[:80]
            raise DataError(f"{where}: column {printable(name)} has {shown}, where a text or a number is expected")
        return (value or "").strip() if self.columns.is_loose else value or ""

    def _each(self, values: list[Any], where: str) -> list[str]:
        names = [value if isinstance(value, str) else json.dumps(value) for value in values]
        if wrong := next((name for name in names if BAR in name or not name.strip()), None):
            raise DataError(f"{where}: {printable(repr(wrong))} cannot be the name of a class among several")
        return names

    def _labels(self, raw: dict[str, Any], where: str) -> dict[str, str]:
        if self.columns.label is None:
            return {name: self._text(raw, name, where) for name in self.columns.others}
        return {LABELS if self._several else columns.LABEL: self._text(raw, self.columns.label, where)}

    def _part(self, text: str, where: str) -> str:
        words = text.strip().casefold()
        if not words or words in DOCUMENTED:
            return PARTS.get(words, "")
        if words not in PART_OF:
            shown = printable(repr(text))[:60]
            raise DataError(f"{where}: split {shown} is unknown; allowed: {', '.join(DOCUMENTED)} or nothing")
        note = f"{self.columns.split} {text!r} is {PART_OF[words]}"
        if note not in self.notes:
            self.notes.append(note)
        return PART_OF[words]

    def _taker(self, line: int, raw: dict[str, Any]) -> LabelColumns:
        """What takes the labels of rows like the first one. Raises: DataError if it is not clear what they are."""
        found, where = self.columns, f"{self.source}, line {line}"
        if found.split and columns.word(found.split) == "fold" and self._text(raw, "fold", where).strip().isdecimal():
            self.columns = found = replace(found, split=None)
            keep = "" if self._hints.group_by else "; --group-by fold keeps the images of each together"
            self.notes.append(f"column fold has numbers, which are no parts, and is left alone{keep}")
        if found.label is None:
            switches = Switches(self.source, found.others)
            first = {name: self._text(raw, name, where) for name in found.others}
            if column := switches.unswitched(first):
                cell = f"{printable(repr(first[column]))[:120]} in column {printable(column)[:60]}"
                every = "without a column label, every other column is a class, with 0 or 1 in each row"
                raise columns.lacks(self.source, self.names, ["label"], more=f"; line {line}: {cell}; {every}")
            return switches
        self._several = found.has_several or isinstance(raw.get(found.label), list)
        if found.is_guessed and found.others and self._are_switches(raw, (found.label, *found.others)):
            name = printable(found.label)
            raise DataError(
                f"{self.source}: all columns have 0 or 1, so {name} may be the label or a class as the others; choose "
                f"with --label-column {name}, or call that class otherwise"
            )
        return BarredLabels(self.source) if self._several else OneLabel(self.source)

    def _are_switches(self, raw: dict[str, Any], names: tuple[str, ...]) -> bool:
        return all(str(raw.get(name)).strip().casefold() in SWITCHES for name in names)

    def _unread(self) -> str:
        """A word on columns that say parts in a way that is not read."""
        flags = [printable(name) for name in self.names if FLAG.fullmatch(columns.word(name))]
        flags = [name for name in flags if not self.columns.split and name not in (self.columns.label or "")]
        if not flags or (self.columns.label is None and set(flags) <= set(self.columns.others)):
            return ""
        return f"column {flags[0]} is not read; to say parts, call it split, with train, val or test in it"
