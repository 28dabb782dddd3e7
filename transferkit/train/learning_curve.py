"""How the accuracy of a probe changes with fewer and more photos, from features that are at hand."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from transferkit import kinds, ranks
from transferkit.train import head, power_law
from transferkit.train.head import ProbeFit
from transferkit.train.power_law import PowerLaw
from transferkit.train.problem import Problem

if TYPE_CHECKING:
    from transferkit.train.fitted import Fitted

PARTS = (8, 4, 2)  # each part of so many is fitted alone, and judged on the rest
LEAST, FEWEST = 2, 2  # images of each class in a part, and sizes of parts
DRAWN = 24  # points of the line
FARTHEST = 4  # times the images that are there
MORE = 10  # photos of one class
DIGITS = 4  # of shares: the last bits of sums differ from process to process


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What fits to a share of the images know of the others.

    Shapes: right (draws, n), 1 for an image that is named right, NaN for one that was fitted to.
    """

    share: float
    right: np.ndarray

    def error(self, members: np.ndarray) -> float:
        """The share of wrong answers for the images of `members`, (n,) bool."""
        return 1 - float(np.nanmean(self.right[:, members]))

    def deviation(self, members: np.ndarray) -> float:
        """The standard error of that which comes of the draws, never less than half of what comes of the images."""
        draws = np.array([np.nanmean(some) for some in self.right[:, members] if not np.isnan(some).all()])
        spread = draws.std(ddof=1) / math.sqrt(len(draws)) if len(draws) > 1 else 0.0
        return max(float(spread), _shared(self.error(members), int(members.sum())) / 2)


def beside(fitted: "Fitted", problem: Problem, found: ProbeFit) -> "Fitted":
    """What was fitted, with the learning curve of the probe that it began with."""
    return replace(fitted, learning_curve=measure(problem, found) if ranks.is_first() else None)


def measure(problem: Problem, found: ProbeFit) -> dict[str, Any] | None:
    """The block "learning_curve" of metrics.json; None where a class has too few images, or all are too many.

    The images are divided into 8, 4 and 2 parts, groups whole. A probe with the L2 of `found` is fitted to each part
    and judged on all others; the answers out of five folds are the point at four fifths of the images.
    """
    task, rows = problem.train.task, found.rows
    labels = problem.train.labels[rows]
    least = int(task.counts(labels, problem.train.num_classes).min())
    parts = [count for count in PARTS if least >= LEAST * count]
    if not found.by_cross_validation or len(parts) < FEWEST:
        return None
    points = [Measured(share=1 / count, right=np.stack([*_drawn(problem, found, count)])) for count in parts]
    points.append(Measured(share=1 - 1 / head.FOLDS, right=task.right(found.logits, labels)[None].astype(float)))
    everyone = np.ones(len(rows), bool)
    law = _law(points, everyone)
    sizes = np.unique(np.geomspace(points[0].share * len(rows), FARTHEST * len(rows), DRAWN).round().astype(int))
    return {
        "images": len(rows),
        "points": [[round(each.share * len(rows)), round(1 - each.error(everyone), DIGITS)] for each in points],
        "line": [_forecast(law, int(size)) for size in sizes],
        "now": _forecast(law, len(rows)),
        "twice": _forecast(law, 2 * len(rows)),
        "gains": _gains(points, labels, problem.train.num_classes) if task.names_one else [],
    }


def _drawn(problem: Problem, found: ProbeFit, count: int) -> Iterator[np.ndarray]:
    """Of each of `count` parts, what a fit to it alone names right among the others; shape (n,)."""
    task, rows, seed = problem.train.task, found.rows, problem.hyperparameters.seed
    labels = problem.train.labels[rows]
    groups = None if problem.groups is None else problem.groups[rows]
    part = task.folds(labels, count, seed=seed, groups=groups)
    plain = kinds.present(problem.features).plain
    for number in range(count):
        right = np.full(len(rows), np.nan)
        inside = part == number
        if inside.any() and not inside.all():
            linear = head.fit_like(found, problem, rows[inside])
            right[~inside] = task.right(linear.predict(plain, rows[~inside]), labels[~inside])
            yield right


def _law(points: Sequence[Measured], members: np.ndarray) -> PowerLaw:
    """The law of the images of `members`, (n,) bool, by how many of them were fitted to."""
    count = int(members.sum())
    errors = [each.error(members) for each in points]
    deviations = [each.deviation(members) for each in points]
    sizes = [each.share * count for each in points]
    return power_law.fit(sizes, errors, deviations, shared=_shared(errors[-1], count))


def _shared(error: float, count: int) -> float:
    """The standard error of a share of so many images; of none or all of them, that of one more image of each kind."""
    error = (error * count + 1) / (count + 2)
    return math.sqrt(error * (1 - error) / count)


def _forecast(law: PowerLaw, images: int) -> list[float]:
    """Number of images, accuracy, and the ends of its 95 % interval."""
    error, low, high = law.forecast(images)
    return [images, *(round(1 - each, DIGITS) for each in (error, high, low))]


def _gains(points: Sequence[Measured], labels: np.ndarray, num_classes: int) -> list[dict[str, Any]]:
    """Of each class what ten more photos of it add to its recall, by its number, the largest first."""
    found = []
    for label in range(num_classes):
        members = labels == label
        gain, *ends = (round(each, DIGITS) for each in _law(points, members).gain(int(members.sum()), MORE))
        found.append({"label": label, "images": int(members.sum()), "gain": gain, "interval": ends})
    return sorted(found, key=lambda each: -each["gain"])
