"""fixes.csv: what a person decides about each image in doubt, and the cleaned data set that follows from it."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transferkit.audit.findings import KEEP, LABEL, REMOVE, Findings
from transferkit.data import cells
from transferkit.data.listing import Listing
from transferkit.data.source import absolute
from transferkit.tasks.multi_label import BAR
from transferkit.zoo import files
from transferkit.zoo.errors import DataError
from transferkit.zoo.text import printable

COLUMNS = ("path", "problem", "label", "suggestion", "action")
NEEDED = ("path", "label", "action")
MAX_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What the fixes came to: how many images the new data set has, how many were removed, given another label."""

    images: int
    removed: int
    relabelled: int


def write(path: Path, found: Findings) -> int:
    """Write fixes.csv, each image in doubt once, and every action `keep`; how many. Raises: StorageError."""
    rows = [
        (found.listing.relative(each.row), each.words, found.label(each.row), each.suggestion, KEEP)
        for each in found.problems()
    ]
    task, classes = found.every.task, found.every.classes
    rows += [
        (
            found.every.relative(row),
            f"cannot be read: {reason}",
            task.text(found.every.labels[row], classes),
            REMOVE,
            KEEP,
        )
        for row, reason in found.unread()
    ]
    cells.write(path, COLUMNS, rows)
    return len(rows)


def apply(listing: Listing, fixes: Path, out: Path) -> Cleaned:
    """Write the data set `out`, a CSV, with the actions of `fixes` done; the photos stay as they are.

    Raises: DataError for a line that names no image of the listing, no class, or no action, or where a class would have
    no image left; RunConflictError if `out` is there already; UsageError, StorageError.
    """
    files.check_free(out, overwrite=False, sources=[fixes])
    labels, is_kept = listing.labels.copy(), np.ones(len(listing.labels), bool)
    left: dict[tuple[str, str], list[int]] = {}
    for row in range(len(labels)):
        left.setdefault((listing.relative(row), listing.task.text(labels[row], listing.classes)), []).append(row)
    known = {path for path, _ in left}
    for line, path, label, action in _decisions(fixes):
        where = f"{fixes}, line {line}"
        rows = left.get((path, label))
        if not rows:
            raise DataError(f"{where}: {_unfound(path, label, path in known, listing)}")
        row = rows.pop()  # of one path named twice the later is in doubt
        if action.casefold() == REMOVE:
            is_kept[row] = False
        elif action.casefold().startswith(LABEL):
            labels[row] = _label(action[len(LABEL) :].strip(), listing, where)
        elif action and action.casefold() != KEEP:
            raise DataError(
                f"{where}: action {printable(repr(action))} is unknown; allowed: {KEEP}, {REMOVE}, {LABEL}CLASS"
            )
    _check_classes(listing, labels, is_kept)
    kept = np.flatnonzero(is_kept)
    _write(out, listing, labels, kept)
    changed = (labels != listing.labels).reshape(len(labels), -1).any(1) & is_kept
    return Cleaned(images=len(kept), removed=int((~is_kept).sum()), relabelled=int(changed.sum()))


def _decisions(fixes: Path) -> Iterator[tuple[int, str, str, str]]:
    """Line, path, label and action of each row, as a spreadsheet may have saved it: with a mark, or semicolons."""
    text = files.read_text(fixes, most=MAX_BYTES).removeprefix("\ufeff")
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if head.count(";") > head.count(",") else ",")
    try:
        names = [name.strip().casefold() for name in next(reader, [])]
        if missing := [name for name in NEEDED if name not in names]:
            raise DataError(f"{fixes} has no column {missing[0]}; it has {', '.join(COLUMNS)} as the audit wrote it")
        for values in reader:
            if not values:
                continue
            if len(values) != len(names):
                raise DataError(f"{fixes}, line {reader.line_num}: {len(values)} values for {len(names)} columns")
            row = dict(zip(names, map(cells.original, values)))
            yield reader.line_num, row["path"], row["label"], row["action"].strip()
    except csv.Error as error:
        raise DataError(f"{fixes} is not valid CSV: {error}") from error


def _unfound(path: str, label: str, is_known: bool, listing: Listing) -> str:
    if is_known:
        return f"{printable(path)} has not, or no longer, the label {printable(repr(label))}; audit the data again"
    return f"{printable(path)} is no image of {printable(listing.source)}"


def _label(text: str, listing: Listing, where: str) -> np.ndarray | int:
    """The label that a text means. Raises: DataError for a class that is not there."""
    names = [text] if listing.task.names_one else [name.strip() for name in text.split(BAR) if name.strip()]
    for name in names:
        if name not in listing.classes:
            allowed = ", ".join(map(printable, listing.classes[:10])) + (", ..." if len(listing.classes) > 10 else "")
            raise DataError(f"{where}: class {printable(repr(name))} is unknown; allowed: {allowed}")
    numbers = [listing.classes.index(name) for name in names]
    return numbers[0] if listing.task.names_one else np.isin(np.arange(len(listing.classes)), numbers)


def _check_classes(listing: Listing, labels: np.ndarray, is_kept: np.ndarray) -> None:
    """Raise DataError where a class that could be trained on no longer can."""
    can_train = np.isin(listing.parts, ("", "train"))
    before, after = (
        listing.task.counts(some, len(listing.classes))
        for some in (listing.labels[can_train], labels[can_train & is_kept])
    )
    if lost := [printable(listing.classes[k]) for k in np.flatnonzero((before > 0) & (after == 0))]:
        raise DataError(f"these fixes leave no image to train on of {', '.join(lost[:5])}; keep one, or drop the class")


def _write(out: Path, listing: Listing, labels: np.ndarray, rows: Sequence[int] | np.ndarray) -> None:
    columns, extra = ["path", listing.task.column], []
    if (listing.parts != "").any():
        columns, extra = [*columns, "split"], [*extra, listing.parts]
    if listing.groups is not None:
        columns, extra = [*columns, "group"], [*extra, listing.groups]
    lines = (
        (absolute(listing.paths[row]), listing.task.text(labels[row], listing.classes), *(each[row] for each in extra))
        for row in rows
    )
    cells.write(out, columns, lines)
