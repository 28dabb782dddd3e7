"""Photos sorted into a folder for each class; whatever stops it, no photo is lost and all of it can be undone.

Before a photo is placed, a line of OUT/undo.jsonl says from where and where to: of a sorting that was killed it is
known what may have been done. Nothing that is there is ever written over.
"""

import filecmp
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from transferkit import lock
from transferkit.progress import Progress
from transferkit.ship import placing
from transferkit.ship.prediction import Prediction
from transferkit.zoo import files, removal
from transferkit.zoo.errors import ModelFileError, StorageError, UsageError

JOURNAL, LOCK = "undo.jsonl", ".sorting.lock"
REVIEW = "review"  # the folder of answers that should not be relied on
NONE = "none"  # that of photos with no label of several
FORBIDDEN = re.compile(r'[\\/:*?"<>|\x00-\x1f]')  # in names of folders, of one system or another
LONGEST = 100  # characters of such a name
MAX_BYTES = 1 << 30  # of a journal


@dataclass(frozen=True, kw_only=True)
class Step:
    """A photo that was placed, or was about to be: how, from which path, to which, relative to the journal's folder."""

    how: str
    source: Path
    target: Path


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of photos: how many in each folder, or put back; which were left where they are, and why."""

    counts: Counter[str] = field(default_factory=Counter)
    left: list[tuple[str, str]] = field(default_factory=list)


class Sorter:
    """Places photos below a folder by what is said of them."""

    def __init__(self, into: Path, *, how: str, classes: Sequence[str], journal: IO[str]):
        self._into, self._how, self._journal = into, how, journal
        self._folders = folders_of(classes)
        self.outcome = Outcome()

    def each(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Each prediction, once its photo is placed."""
        for prediction in predictions:
            self.place(prediction)
            yield prediction

    def place(self, prediction: Prediction) -> None:
        """Put a photo into the folder of its class, or of each of its classes; where it is not sure, into `REVIEW`.

        What cannot be placed stays where it is. Raises: StorageError if the disk takes no more.
        """
        path = Path(os.fsdecode(prediction.source))  # pyright: ignore[reportArgumentType]  paths alone are sorted
        if fault := prediction.fault or _reason_to_stay(path, how=self._how):
            self.outcome.left.append((str(path), fault))
            return
        names = [self._folders[label] for label, _ in prediction.labels] or [NONE]
        for name in [REVIEW] if prediction.doubt else names:
            try:
                self._put(path, self._into / name)
            except OSError as error:
                if error.errno in placing.OF_THE_DISK:
                    raise StorageError(f"cannot write {self._into}: {error.strerror}; {UNDO_HINT}") from error
                self.outcome.left.append((str(path), error.strerror or str(error)))
                return
            self.outcome.counts[name] += 1

    def _put(self, path: Path, folder: Path) -> None:
        placing.make_folder(folder)
        for target in placing.names(folder / path.name):
            if os.path.lexists(target):
                if self._how != "move" and _is_there(path, target):
                    return
                continue
            line = {"how": self._how, "from": os.path.abspath(path), "to": str(target.relative_to(self._into))}
            self._journal.write(json.dumps(line) + "\n")
            self._journal.flush()
            with suppress(FileExistsError):  # somebody else was faster
                placing.HOW[self._how](path, target, placing.scratch_of(self._into))
                return


UNDO_HINT = "what was sorted so far stands in " + JOURNAL


@contextmanager
def sorting(into: Path, *, how: str, classes: Sequence[str], names_one: bool) -> Iterator[Sorter]:
    """What places photos below the folder `into`, for the length of a block.

    Args: how, one of `placing.HOW`; classes and names_one of the classifier.
    Raises: UsageError, StorageError, RunConflictError if somebody else is sorting there.
    """
    if how == "move" and not names_one:
        raise UsageError("a photo of several labels goes into several folders: copy or hardlink it, do not move it")
    placing.make_folder(into)
    with lock.held(into / LOCK, of=into):
        removal.sweep(into, "copying")
        with files.storage_errors(into / JOURNAL), open(into / JOURNAL, "a", encoding="utf-8") as journal:
            yield Sorter(into, how=how, classes=classes, journal=journal)


def folders_of(classes: Sequence[str]) -> dict[str, str]:
    """A folder's name for each class: its own, as far as file systems allow it and no other has it.

    >>> folders_of(["cat", "dog/wolf", "review", ".."])
    {'cat': 'cat', 'dog/wolf': 'dog_wolf', 'review': 'review_', '..': '_'}
    """
    taken, found = {REVIEW, NONE, JOURNAL}, {}
    for name in classes:
        folder = FORBIDDEN.sub("_", name)[:LONGEST].strip(" .") or "_"
        while folder.casefold() in taken:
            folder += "_"
        taken.add(folder.casefold())
        found[name] = folder
    return found


def undo(journal: Path, *, progress: Progress) -> Outcome:
    """Put back what a sorting has moved, and remove what it has copied and linked, the last first.

    What has changed since stays, with its line in the journal; folders that are empty then go.

    Raises: UsageError, ModelFileError if the journal is damaged; RunConflictError, StorageError.
    """
    into = journal.parent
    if not journal.is_file():
        raise UsageError(f"no such file: {journal}; it is the {JOURNAL} in the folder that photos were sorted into")
    with lock.held(into / LOCK, of=into), files.storage_errors(journal):
        removal.sweep(into, "copying")
        steps, outcome, kept = _read(journal), Outcome(), []
        progress.start("undoing", len(steps))
        for step, line in reversed(steps):
            progress.advance(1)
            try:
                if _undone(step, into):
                    outcome.counts[step.how] += 1
            except OSError as error:
                outcome.left.append((str(step.target), error.strerror or str(error)))
                kept.append(line)
        for folder in {step.target.parent for step, _ in steps}:
            with suppress(OSError):
                folder.rmdir()
        if kept:
            files.write_text(journal, "\n".join(reversed(kept)) + "\n")
        else:
            journal.unlink()
        progress.finish()
    with suppress(OSError):
        into.rmdir()
    return outcome


def _undone(step: Step, into: Path) -> bool:
    """Undo a step, and say whether there was something to undo. Raises: OSError where it stays."""
    is_at_source, is_at_target = (os.path.lexists(path) for path in (step.source, step.target))
    if not is_at_target:
        if not is_at_source:
            raise OSError("it is gone, and from where it came, too")
        return False
    if is_at_source:
        is_begun = step.target.stat().st_size == 0  # a name that was taken on a disk without links, and not yet filled
        if not is_begun and not filecmp.cmp(step.source, step.target, shallow=False):
            raise OSError(f"it differs from {step.source}")
        step.target.unlink()
    elif step.how != "move":
        raise OSError(f"{step.source} is gone, so this stays")
    else:
        step.source.parent.mkdir(parents=True, exist_ok=True)
        placing.move(step.target, step.source, placing.scratch_of(into))
    return True


def _read(journal: Path) -> list[tuple[Step, str]]:
    """The steps in the order in which they were done, and their lines. Raises: ModelFileError."""
    lines = files.read_text(journal, most=MAX_BYTES).split("\n")
    last = lines.pop()  # empty, or what was being written when the sorting was killed, and then not done
    steps = [(_step(files.parse_json(line, journal), journal), line) for line in lines if line]
    with suppress(ModelFileError):
        steps += [(_step(files.parse_json(last, journal), journal), last)] if last else []
    return steps


def _step(line: Any, journal: Path) -> Step:
    found = [line.get(key) for key in ("how", "from", "to")] if isinstance(line, dict) else []
    texts = [text for text in found if isinstance(text, str) and "\0" not in text]
    if len(texts) != 3:
        raise ModelFileError(f"{journal} is damaged: a line has no how, from and to")
    how, source, target = texts
    parts = Path(target).parts
    if how not in placing.HOW or len(parts) != 2 or ".." in parts or not os.path.isabs(source):
        raise ModelFileError(f"{journal} is damaged: {target} is no photo of its folder")
    return Step(how=how, source=Path(source), target=journal.parent / target)


def _reason_to_stay(path: Path, *, how: str) -> str:
    if how == "move" and path.is_symlink():
        return "a link, which may lead nowhere from another folder: copy it"
    return "" if path.is_file() else "no file of its own"


def _is_there(path: Path, target: Path) -> bool:
    return target.is_file() and filecmp.cmp(path, target, shallow=False)
