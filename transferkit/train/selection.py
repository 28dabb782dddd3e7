"""Which L2 a probe gets: the one of a path that is best on images held out, in five folds or in one part."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferkit.train import probe
from transferkit.train.feature_blocks import Rows, Scale
from transferkit.train.objective import Objective, scaled
from transferkit.train.probe import Linear

L2_PATH = tuple(
    round(float(v), 5) for v in 10 ** np.arange(0, -4.5, -0.5)
)  # strong to weak: a fit starts from the one before
L2_PATH_OF_MANY = (*L2_PATH, 3.2e-5, 1e-5, 3.2e-6, 1e-6)  # the more images, the less L2 they want
SAMPLE_SHARE = 0.1  # of the images: with them a whole path takes about as long as one fit to all
SAMPLE_LEAST = 10_000

OnValue = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A value of L2, its scores on the images fitted and on those held out, and what was found with it.

    Fields: found, the classifier, or the mean of those of the folds; logits (n, K), each from the fold without the
    image; second (n, K), the same of the second view, if there is one; images, how many were fitted where that is not
    the same for all values.
    """

    l2: float
    train: dict[str, float]
    val: dict[str, float]
    seconds: float
    found: Linear
    logits: np.ndarray | None = None
    second: np.ndarray | None = None
    images: int | None = None

    def line(self, epoch: int) -> dict[str, Any]:
        """This as a line of metrics.jsonl."""
        about = {"epoch": epoch, "phase": "probe", "lr": None, "l2": self.l2, "train": self.train, "val": self.val}
        fitted = {} if self.images is None else {"images": self.images}
        return about | fitted | {"seconds": round(self.seconds, 3)}


def choose_by_folds(
    rows: Rows,
    folds: np.ndarray,
    *,
    class_weights: Tensor,
    path: tuple[float, ...] = L2_PATH,
    on_value: OnValue,
) -> Tried:
    """The L2 of the path with the least out-of-fold log loss on the first view, and the logits (n, K) that gave it.

    The path runs from strong to weak and ends once the loss rises; `on_value` gets a metrics line for each value. A
    standardised copy of the features is held in memory.

    Shapes: folds (n,) with the number of the fold in which a row is held out, in all its views.
    """
    return _best(_over_folds(rows, folds, class_weights, path), on_value)


def choose_on_part(
    train: Rows,
    held_out: Rows,
    *,
    class_weights: Tensor,
    path: tuple[float, ...] = L2_PATH_OF_MANY,
    on_value: OnValue,
) -> Tried:
    """The L2 of the path with the least log loss on `held_out`, and the fit to all of `train` that gave it.

    A sample of the images walks the path first. From the value that is best for it all of them go on, to weaker ones:
    the more images, the less L2 they want.
    """
    sample = train.thinned(max(SAMPLE_LEAST, round(SAMPLE_SHARE * len(train.rows))))
    heard = []

    def tell(line: dict[str, Any]) -> None:
        heard.append(line)
        on_value(line | {"epoch": len(heard) - 1})

    best = _best(_on_part(sample, held_out, class_weights, path, None), tell)
    if sample is train:
        return best
    return _best(_on_part(train, held_out, class_weights, path[path.index(best.l2) :], best.found), tell)


def _best(values: Iterable[Tried], on_value: OnValue) -> Tried:
    left = iter(values)
    best = next(left)
    on_value(best.line(0))
    for epoch, tried in enumerate(left, 1):
        on_value(tried.line(epoch))
        if tried.val["loss"] >= best.val["loss"]:
            break
        best = tried
    return best


def _on_part(
    train: Rows, held_out: Rows, class_weights: Tensor, path: tuple[float, ...], start: Linear | None
) -> Iterator[Tried]:
    started = time.monotonic()
    scale, objective = probe.prepare(train, class_weights)
    point = None if start is None else scaled(start.weight, start.bias, scale)
    for l2 in path:
        point = probe.solve(objective, l2, point)
        found = probe.linear(point, scale)
        yield Tried(
            l2=l2,
            train=probe.score(train.blocks(len(class_weights)), found, train.task),
            val=probe.score(held_out.blocks(len(class_weights)), found, train.task),
            seconds=time.monotonic() - started,
            found=found,
            images=len(train.rows),
        )
        started = time.monotonic()


def _over_folds(rows: Rows, folds: np.ndarray, class_weights: Tensor, path: tuple[float, ...]) -> Iterator[Tried]:
    started = time.monotonic()
    scale, fits = _folds(rows, folds, class_weights)
    points: list[Tensor] = []
    for l2 in path:
        logits, second = np.empty((2, len(folds), len(class_weights)), np.float32)
        scores = []
        starts, points = points or [None] * len(fits), []  # of each fold, what the L2 before has come to
        for (objective, chosen, views), start in zip(fits, starts):
            points.append(probe.solve(objective, l2, start))
            found = probe.linear(points[-1], objective.scale)
            for of_view, x in zip((logits, second), views):
                of_view[chosen] = found.logits(x).numpy()
            scores.append(probe.score(objective.blocks, found, rows.task))
        val = rows.task.measured(logits, rows.labels)
        val["loss"] = float(rows.task.log_losses(logits, rows.labels).mean(dtype=np.float64))
        train = {name: float(np.mean([each[name] for each in scores])) for name in scores[0]}
        mean = probe.linear(torch.stack(points).mean(0), scale)  # the folds' scales are nearly the same
        yield Tried(
            l2=l2,
            train=train,
            val=val,
            seconds=time.monotonic() - started,
            found=mean,
            logits=logits,
            second=second if len(rows.views) > 1 else None,
        )
        started = time.monotonic()


def _folds(
    rows: Rows, folds: np.ndarray, class_weights: Tensor
) -> tuple[Scale, list[tuple[Objective, np.ndarray, tuple[Tensor, ...]]]]:
    """The scale of all rows; for each fold the objective of the others, which rows it holds out, all their views."""
    scale = Scale.of(rows.blocks(len(class_weights)), rows.widths)
    members = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    # all views of a fold lie together, so that the other folds are two slices
    x = torch.cat([torch.from_numpy(view[rows.rows[chosen]]) for chosen in members for view in rows.views])
    x = scale.apply_(x)
    labels = torch.from_numpy(np.concatenate([rows.labels[chosen] for chosen in members for _ in rows.views]))
    fits, start = [], 0
    for chosen in members:
        end = start + len(rows.views) * len(chosen)
        blocks = tuple((x[part], labels[part]) for part in (slice(start), slice(end, None)) if len(labels[part]))
        shares = rows.task.shares(np.delete(rows.labels, chosen, axis=0), class_weights, views=len(rows.views))
        objective = Objective(blocks=blocks, scale=Scale.of(blocks, rows.widths), shares=shares, task=rows.task)
        fits.append((objective, chosen, x[start:end].split(len(chosen))))
        start = end
    return scale, fits
