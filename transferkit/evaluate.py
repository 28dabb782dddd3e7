"""What a fitted network is worth: on the test images if there are any, else on those that validated it."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from transferkit.data import copies
from transferkit.data.source import absolute
from transferkit.tasks import Task
from transferkit.train.first_pass import FirstPass
from transferkit.train.fitted import Fitted

Judged = tuple[str, ...]  # a row of predictions.csv


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run came to; its fields, but for `judged`, are those of metrics.json.

    Fields: task, with what validation chose for it, by its name in the file; val and test, blocks of scores; classes,
    in the order of the outputs; chosen, the strategy whose model is in the folder; notes, lines for the reader;
    snapshots and tta, what averaging those, or over mirror images, gave; tried, what `auto` weighed; learning_curve,
    how accuracy changes with the number of images; judged, what was said of each image.
    """

    task: Task
    val: dict[str, Any]
    test: dict[str, Any] | None
    classes: list[str]
    chosen: str
    notes: list[str]
    snapshots: dict[str, Any] | None
    tta: dict[str, Any] | None
    tried: dict[str, Any] | None
    learning_curve: dict[str, Any] | None
    backbone: str
    strategy: str
    precision: str
    seconds: dict[str, float] = field(default_factory=dict)
    judged: list[Judged]

    def as_metrics(self) -> dict[str, Any]:
        """The contents of metrics.json."""
        fields = asdict(self) | {"task": self.task.name}
        del fields["judged"]
        return fields


def judge(fitted: Fitted, taken: FirstPass, **about: Any) -> Result:
    """The result of a run, judged on the test images, else on those that validated.

    Args: about, the other fields of the result: backbone, strategy, precision.
    """
    listing = taken.listing
    rows, logits = fitted.rows, fitted.logits
    task = listing.task.chosen_on(logits, listing.labels[rows])
    seen = copies.seen(listing.parts, taken.contents)
    by_folds = (listing.parts[rows] == "train").any()  # which never divide copies
    val, test = _scores(task, logits, listing.labels[rows], seen[rows] & ~by_folds), None
    test_rows = np.flatnonzero(listing.parts == "test")
    if len(test_rows):
        rows, logits = test_rows, fitted.predict(test_rows)
        test = _scores(task, logits, listing.labels[rows], seen[rows])
    judged = [
        (absolute(listing.paths[row]), *task.prediction(p, listing.labels[row], listing.classes))
        for row, p in zip(rows, task.probabilities(logits))
    ]
    return Result(
        task=task,
        val=val,
        test=test,
        classes=list(listing.classes),
        chosen=fitted.chosen,
        notes=[*fitted.notes, *copies.contradiction(listing, taken.contents)],
        snapshots=fitted.snapshots,
        tta=fitted.tta,
        tried=fitted.tried,
        learning_curve=fitted.learning_curve,
        judged=judged,
        **about,
    )


def _scores(task: Task, logits: np.ndarray, labels: np.ndarray, seen: np.ndarray) -> dict[str, Any]:
    return task.scores(logits, labels) | task.seen_scores(logits, labels, seen)
