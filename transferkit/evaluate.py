"""What a fitted network is worth: on the test images if there are any, else on those that validated it."""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from transferkit import baselines, messages
from transferkit.data import copies
from transferkit.data.source import absolute
from transferkit.tasks import Task
from transferkit.train.first_pass import FirstPass
from transferkit.train.fitted import Fitted
from transferkit.trust import Trust, calibration, familiarity, sureness, unseen
from transferkit.trust.unseen import Unseen

Judged = tuple[str, ...]  # a row of predictions.csv
UNWRITTEN = {"judged", "trust", "unseen"}  # what stands in files of its own
FOLDS = 5  # of the images trained on, each of which is compared with the others


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run came to; its fields, but for `judged`, `trust` and `unseen`, are those of metrics.json.

    Fields: task, with what validation chose for it, by its name in the file; val and test, blocks of scores; classes,
    in the order of the outputs; chosen, the strategy whose model is in the folder; notes, lines for the reader;
    snapshots and tta, what averaging those, or over mirror images, gave; tried, what `auto` weighed; learning_curve,
    how accuracy changes with the number of images; calibration, the temperature by which logits are divided, and what
    it gave on the images of `judged`; abstention, the share right of the surest; audit, in lines, what may be wrong
    with the images; judged, what was said of each image; trust, which of them are sure, and which images are unlike
    those trained on; unseen, the answers to images that no fit behind them has seen.
    """

    task: Task
    val: dict[str, Any]
    test: dict[str, Any] | None
    classes: list[str]
    chosen: str
    notes: list[str]
    snapshots: dict[str, Any] | None
    tta: dict[str, Any] | None
    calibration: dict[str, Any]
    abstention: dict[str, Any]
    tried: dict[str, Any] | None
    learning_curve: dict[str, Any] | None
    backbone: str
    strategy: str
    precision: str
    audit: dict[str, Any] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    judged: list[Judged]
    trust: Trust
    unseen: Unseen

    def as_metrics(self) -> dict[str, Any]:
        """The contents of metrics.json."""
        written = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in UNWRITTEN}
        return written | {"task": self.task.name}


def judge(fitted: Fitted, taken: FirstPass, **about: Any) -> Result:
    """The result of a run, judged on the test images, else on those that validated.

    Args: about, the other fields of the result: backbone, strategy, precision.
    """
    listing = taken.listing
    rows, plain = fitted.rows, listing.task.mean(fitted.logits)
    spread = calibration.SPREAD_OF_REFITS if fitted.is_refitted else calibration.SPREAD
    temperature = calibration.temperature(fitted.logits, listing.labels[rows], listing.task, spread=spread)
    logits = listing.task.mean(calibration.divided(fitted.logits, temperature))
    task = listing.task.chosen_on(logits, listing.labels[rows])
    trust = _trust(fitted, taken, task, logits)
    of_unseen = unseen.kept(
        [taken.sha256[row] for row in rows], listing.labels[rows], logits, is_refitted=fitted.is_refitted
    )
    seen = copies.seen(listing.parts, taken.families)
    by_folds = (listing.parts[rows] == "train").any()  # which never divide copies
    val, test = _scores(task, logits, taken, rows, seen[rows] & ~by_folds), None
    test_rows = np.flatnonzero(listing.parts == "test")
    if len(test_rows):
        rows, each = test_rows, fitted.predict(test_rows)
        plain, logits = task.mean(each), task.mean(calibration.divided(each, temperature))
        test = _scores(task, logits, taken, rows, seen[rows])
    labels, probabilities = listing.labels[rows], task.probabilities(logits)
    judged = [
        (absolute(listing.paths[row]), *task.prediction(p, listing.labels[row], listing.classes))
        for row, p in zip(rows, probabilities)
    ]
    on_which = messages.judged(fitted.judged, test=len(test_rows))
    return Result(
        task=task,
        val=val,
        test=test,
        classes=list(listing.classes),
        chosen=fitted.chosen,
        notes=[*on_which, *fitted.notes, *copies.contradiction(listing, taken.contents)],
        snapshots=fitted.snapshots,
        tta=fitted.tta,
        calibration={
            "temperature": temperature,
            "images": len(fitted.rows),
            "before": calibration.reliability(plain, labels, task),
            "after": calibration.reliability(logits, labels, task),
        },
        abstention={"coverage": sureness.coverage(task.confidence(probabilities), task.right(logits, labels))},
        tried=fitted.tried,
        learning_curve=fitted.learning_curve,
        judged=judged,
        trust=trust,
        unseen=of_unseen,
        **about,
    )


def _trust(fitted: Fitted, taken: FirstPass, task: Task, logits: np.ndarray) -> Trust:
    """What the answers to unseen images, and the features of those trained on, say of others. Shapes: logits (n, K)."""
    listing = taken.listing
    right = task.right(logits, listing.labels[fitted.rows])
    known = np.flatnonzero(listing.parts != "test")
    known = known[np.linspace(0, len(known) - 1, min(familiarity.MOST, len(known))).round().astype(int)]
    groups = None if taken.groups is None else taken.groups[known]
    folds = task.folds(listing.labels[known], FOLDS, seed=0, groups=groups)
    return Trust(
        sureness=sureness.learn(task.confidence(task.probabilities(logits)), right),
        familiarity=familiarity.learn(fitted.features(known), folds, widths=fitted.networks[-1].widths),
    )


def _scores(task: Task, logits: np.ndarray, taken: FirstPass, rows: np.ndarray, seen: np.ndarray) -> dict[str, Any]:
    """Args: seen (n,), which of the `rows` are copies or near copies of some before."""
    labels, groups = taken.listing.labels[rows], None if taken.groups is None else taken.groups[rows]
    exact = copies.seen(taken.listing.parts, taken.contents)[rows]
    scores = task.scores(logits, labels, groups) | task.seen_scores(logits, labels, seen, groups)
    return scores | {"near_copies": int((seen & ~exact).sum()), "baselines": baselines.of(taken, rows)}
