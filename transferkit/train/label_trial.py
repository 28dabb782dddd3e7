"""Which steps of an augmentation change what photos are of, tried on the features of some of them before training.

A probe that is fitted to photos as they are says two things of each step. Do its answers for photos that it has not
seen hold, if the step is applied to these? And if it is fitted to both kinds, does it answer worse for photos as they
are? Where a mirror image of a left arrow is a right one, no and yes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from transferkit import metrics, presets
from transferkit.presets import FLIP, MIRROR, TURN, Step
from transferkit.tasks import Task
from transferkit.train import probe
from transferkit.train.feature_blocks import Rows
from transferkit.train.first_pass import FirstPass
from transferkit.train.probe import Linear

IMAGES, OF_A_CLASS, MOST = 128, 8, 1024  # that are looked at: so many, or more where there are many classes
FOLDS = 5
L2 = 0.1  # strong: the fits are compared with each other alone, and take no time
LOST = 0.25  # of the right answers, that do not hold
WORSE = 0.1  # nats of log loss an image, if both kinds are learned; docs/design.md says what was measured
LARGEST = 4.6  # nats an image counts: a probability of 1 %; few that are far out would hide the others
CLEAR = 3.0  # standard errors by which a loss is higher
AS_GOOD = 0.05  # nats that what is added may cost at most, with 95 % confidence
KNOWS = 0.5  # of the loss of guessing, that a probe has at most: what knows nothing is not changed by anything
ONE_SIDED = 1.645  # standard errors
SWAPPED = 0.5  # of the answers for each of two classes are the other

View = Callable[[Step | None, np.ndarray], np.ndarray]  # features (n, D) of rows in a step, None: as they are


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What trying came to: the augmentation by its name now, lines for the reader, and what run.json has of it."""

    augment: str
    lines: tuple[str, ...]
    figures: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Photos that are looked at.

    Shapes: rows (n,), ascending, labels (n, ...), folds (n,) in which each is held out.
    """

    rows: np.ndarray
    labels: np.ndarray
    folds: np.ndarray
    classes: Sequence[str]
    task: Task

    @classmethod
    def of(cls, taken: FirstPass, *, seed: int) -> "Sample":
        """Some of the photos of train and val, of each class its share, those that belong together in one fold."""
        listing = taken.listing
        rows = np.flatnonzero(listing.parts != "test")
        every = Rows(views=(np.empty((0, 0)),), rows=rows, labels=listing.labels[rows], task=listing.task)
        few = every.thinned(sample_size(len(listing.classes), images=len(rows)))
        groups = None if taken.groups is None else taken.groups[few.rows]
        folds = listing.task.folds(few.labels, FOLDS, seed=seed, groups=groups)
        return cls(rows=few.rows, labels=few.labels, folds=folds, classes=listing.classes, task=listing.task)

    def fits(self, *views: np.ndarray) -> list[tuple[Linear, np.ndarray]]:
        """A probe for each fold, fitted to the views (n, D) of the others, and the fold's places in the sample."""
        weights, found = torch.ones(len(self.classes)), []
        for fold in np.unique(self.folds):
            others = np.flatnonzero(self.folds != fold)
            seen = Rows(views=views, rows=others, labels=self.labels[others], task=self.task)
            found.append((probe.fit(seen, L2, class_weights=weights), np.flatnonzero(self.folds == fold)))
        return found

    def logits(self, fits: list[tuple[Linear, np.ndarray]], view: np.ndarray) -> np.ndarray:
        """The answers (n, K) for a view, each by the fit without the photo."""
        found = np.empty((len(view), len(self.classes)), np.float32)
        for fit, places in fits:
            found[places] = fit.predict(view, places)
        return found

    @property
    def guessing(self) -> float:
        """The log loss of an answer that knows nothing."""
        return float(np.log(len(self.classes)) if self.task.names_one else np.log(2) * len(self.classes))

    def losses(self, logits: np.ndarray) -> np.ndarray:
        """The log loss of each answer, all of its classes together, up to `LARGEST`; shape (n,)."""
        questions = 1 if self.task.names_one else len(self.classes)
        return np.minimum(self.task.log_losses(logits, self.labels) * questions, LARGEST)


def sample_size(classes: int, *, images: int) -> int:
    """How many of so many photos are looked at."""
    return min(max(IMAGES, OF_A_CLASS * classes), MOST, images)


def steps_of(augment: str, *, is_drawn: bool, has_mirrored: bool) -> tuple[Step, ...]:
    """What of an augmentation is tried; nothing of one that is to be obeyed as written.

    Args: is_drawn, whether training draws views; has_mirrored, whether a head is fitted to mirror images.
    """
    policy = next((preset for preset in presets.PRESETS if preset.name == augment), None)
    if not policy or not policy.steps:
        return ()
    if is_drawn:
        return (*policy.steps, *(step for step in (FLIP, TURN) if step not in policy.steps))
    return (MIRROR,) if has_mirrored else ()


def run(augment: str, steps: Sequence[Step], sample: Sample, view: View) -> Outcome:
    """Try `steps` of a preset, and those that might be added, on a sample of the photos."""
    policy = next(preset for preset in presets.PRESETS if preset.name == augment)
    plain = view(None, sample.rows)
    alone = sample.fits(plain)
    answers = sample.logits(alone, plain)
    before, right = sample.losses(answers), sample.task.right(answers, sample.labels)
    figures: dict[str, Any] = {"images": len(sample.rows), "accuracy": float(right.mean()), "steps": {}}
    left_out, added, lines = [], [], []
    for step in steps:
        turned = view(step, sample.rows)
        told = sample.logits(alone, turned)
        holds = sample.task.right(told, sample.labels)
        about = {"accuracy": float(holds.mean())}
        figures["steps"][step.name] = about
        if step in policy.steps:
            if holds.sum() > (1 - LOST) * right.sum():
                continue
            costs = sample.losses(sample.logits(sample.fits(plain, turned), plain)) - before
            about["costs"] = float(costs.mean())
            if costs.mean() > WORSE and costs.mean() > CLEAR * _error(costs):
                left_out.append(step)
                lines.append(f"{step.words} {_harm(sample, told)}: not used")
        elif before.mean() < KNOWS * sample.guessing and _at_most(sample.losses(told) - before) < AS_GOOD:
            costs = sample.losses(sample.logits(sample.fits(plain, turned), plain)) - before
            about["costs"] = float(costs.mean())
            added += [step] * (_at_most(costs) < AS_GOOD)
    if MIRROR in left_out and len(added) > 1:
        added = []  # flips and quarter turns make mirror images
    lines += [f"{step.words} change nothing that can be told: used too" for step in added]
    name = augment + "".join(f"-{step.name}" for step in left_out) + "".join(f"+{step.name}" for step in added)
    return Outcome(augment=name, lines=tuple(lines), figures=figures)


def _error(values: np.ndarray) -> float:
    """The standard error of the mean."""
    return float(values.std(ddof=1) / len(values) ** 0.5)


def _at_most(values: np.ndarray) -> float:
    """What the mean is at most, with 95 % confidence."""
    return float(values.mean()) + ONE_SIDED * _error(values)


def _harm(sample: Sample, after: np.ndarray) -> str:
    """What a step does: which classes it makes of each other, where it does."""
    pairs = []
    if sample.task.names_one:
        counts = metrics.confusion(sample.labels, after.argmax(1), num_classes=len(sample.classes))
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1)  # (K, K), true x answered
        both = np.minimum(share, share.T)
        pairs = [(a, b) for a, b in zip(*np.nonzero(np.triu(both, 1) > SWAPPED))]
    if not pairs:
        return "make other classes of the photos"
    return "turn " + " and ".join(f"{sample.classes[a]} into {sample.classes[b]}" for a, b in pairs[:2])
