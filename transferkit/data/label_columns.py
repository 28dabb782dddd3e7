"""The labels of a CSV: one class a row, or several, in a column or as 0 and 1 in a column for each class."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from transferkit.data.listing import class_name
from transferkit.tasks import SINGLE_LABEL, MultiLabel, Task
from transferkit.tasks.multi_label import BAR
from transferkit.zoo.errors import DataError

COLUMNS = (SINGLE_LABEL.column, MultiLabel.column)
SWITCHES = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


class LabelColumns(ABC):
    """Takes in the labels row by row. Fields: task, what they are of; notes, on how they were understood."""

    task: Task
    notes: tuple[str, ...] = ()

    def __init__(self, source: Path):
        self.source = source

    @abstractmethod
    def add(self, row: dict[str, str], where: str) -> None:
        """Take in a row. Raises: DataError, beginning with `where`."""

    def takes(self, other: "LabelColumns") -> bool:
        """Whether rows that are for another one can be added to this."""
        return type(self) is type(other)

    @abstractmethod
    def encoded(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """The labels as the task has them, and the classes in order."""


class OneLabel(LabelColumns):
    """A column `label` with the class of the image."""

    task = SINGLE_LABEL

    def __init__(self, source: Path):
        super().__init__(source)
        self._names: list[str] = []

    def add(self, row: dict[str, str], where: str) -> None:
        if not row["label"]:
            raise DataError(f"{where}: the label is empty")
        self._names.append(class_name(row["label"], self.source))

    def encoded(self) -> tuple[np.ndarray, tuple[str, ...]]:
        classes = sorted(set(self._names))
        if barred := next((name for name in classes if BAR in name), None):
            self.notes = (f"{barred!r} is taken as one class; if it is several, call the column labels",)
        number = {name: index for index, name in enumerate(classes)}
        return np.array([number[name] for name in self._names], np.int64), tuple(classes)


class BarredLabels(LabelColumns):
    """A column `labels` with the classes of the image, separated by bars; an empty one has none of them."""

    task = MultiLabel()

    def __init__(self, source: Path):
        super().__init__(source)
        self._numbers: dict[str, int] = {}
        self._found: list[list[int]] = []

    def add(self, row: dict[str, str], where: str) -> None:
        names = [class_name(name.strip(), self.source) for name in row["labels"].split(BAR)]
        names = [] if names == [""] else names
        if "" in names:
            raise DataError(
                f"{where}: a label of {row['labels']!r} is empty; an image without labels has an empty cell"
            )
        self._found.append([self._numbers.setdefault(name, len(self._numbers)) for name in names])

    def encoded(self) -> tuple[np.ndarray, tuple[str, ...]]:
        labels = np.zeros((len(self._found), len(self._numbers)), bool)
        for row, numbers in zip(labels, self._found):
            row[numbers] = True
        classes = sorted(self._numbers)
        self.notes = _notes(labels)
        joined = next((name for name in classes if ";" in name or "," in name), None)
        if joined and labels.sum(1).max() == 1:  # no bar in any row
            self.notes += (f"{joined!r} is taken as one class; labels are separated by {BAR}",)
        return labels[:, [self._numbers[name] for name in classes]], tuple(classes)


class Switches(LabelColumns):
    """A column for each class, with 1 where the image has it and 0 where not; the classes are in order of columns."""

    task = MultiLabel()

    def __init__(self, source: Path, names: Sequence[str]):
        super().__init__(source)
        self._columns = tuple(names)
        self._found: list[list[bool]] = []
        self._classes = tuple(class_name(name, source) for name in names)
        if "" in self._classes:
            raise DataError(f"{source} has a column without a name, which can be no class; name it or remove it")
        for name in self._classes:
            if BAR in name or self._classes.count(name) > 1:
                raise DataError(f"{source}: {name!r} cannot be the name of a class; each has a column of its own name")

    def takes(self, other: LabelColumns) -> bool:
        return isinstance(other, Switches) and sorted(other._columns) == sorted(self._columns)

    def unswitched(self, row: dict[str, str]) -> str | None:
        """The first column of a row with neither 0 nor 1; None if there is none."""
        return next((name for name in self._columns if row[name].strip().casefold() not in SWITCHES), None)

    def add(self, row: dict[str, str], where: str) -> None:
        if name := self.unswitched(row):
            raise DataError(f"{where}: {row[name]!r} in column {name}; a class has 0 or 1 in every row")
        self._found.append([SWITCHES[row[name].strip().casefold()] for name in self._columns])

    def encoded(self) -> tuple[np.ndarray, tuple[str, ...]]:
        labels = np.array(self._found, bool).reshape(len(self._found), len(self._classes))
        self.notes = _notes(labels)
        return labels, self._classes


def _notes(labels: np.ndarray) -> tuple[str, ...]:
    """How many labels images have. Shapes: labels (N, K)."""
    each = labels.sum(1)
    if not len(each):
        return ()
    words = f"multi-label: {each.min()} to {each.max()} labels an image, {each.mean():.1f} in the mean"
    advice = "; where an image has one class and no other, call the column label" if (each == 1).all() else ""
    return (words + advice,)
