"""Labelled rows of feature arrays that may be larger than memory: read a block at a time."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from transferkit.model.features import Features
from transferkit.tasks import SINGLE_LABEL, Task
from transferkit.train.loop import Examples

Blocks = Iterable[tuple[Tensor, Tensor]]  # of x (B, D) and labels (B, ...); each pass over it gives the same

BLOCK_BYTES = 32 * 2**20  # of a block and its logits: large enough for fast products, small beside any memory
HELD_BYTES = 256 * 2**20  # up to here a standardised copy is kept and saves reading and scaling in each pass


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Labelled rows of one or more views of a data set, all of which count.

    Shapes: each view (N, D), which may be memory-mapped and is never copied whole; rows (n,), and their labels (n,
    ...). `widths` are how many features each part has, where D is several that lie side by side.
    """

    views: tuple[np.ndarray, ...]
    rows: np.ndarray
    labels: np.ndarray
    task: Task = SINGLE_LABEL
    widths: tuple[int, ...] = ()

    @classmethod
    def of(cls, features: Features, rows: np.ndarray, examples: Examples) -> "Rows":
        """Rows (n,) of features in all views, with the labels that they have in `examples`."""
        labels = examples.labels[rows]
        return cls(views=features.views, rows=rows, labels=labels, task=examples.task, widths=features.widths)

    def __len__(self) -> int:
        """How many there are, each view counted."""
        return len(self.views) * len(self.rows)

    @property
    def width(self) -> int:
        """D."""
        return self.views[0].shape[1]

    def blocks(self, num_classes: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Copies of all rows, view by view, a block at a time."""
        height = max(1, BLOCK_BYTES // (4 * (self.width + 3 * num_classes)))
        for view in self.views:
            for start in range(0, len(self.rows), height):
                part = slice(start, start + height)
                yield torch.from_numpy(np.asarray(view[self.rows[part]])).float(), torch.from_numpy(self.labels[part])

    def thinned(self, wanted: int) -> "Rows":
        """`wanted` rows, of each class, or set of them, its share; all of them where there are no more."""
        if wanted >= len(self.rows):
            return self
        by_class = np.argsort(self.task.sets(self.labels), kind="stable")
        chosen = np.sort(by_class[np.linspace(0, len(by_class) - 1, wanted).astype(np.int64)])
        return replace(self, rows=self.rows[chosen], labels=self.labels[chosen])


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What makes features have mean 0 and deviation 1, or parts of them that lie side by side weigh the same.

    Shapes: mean and deviation (D,).
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, blocks: Blocks, widths: Sequence[int] = ()) -> "Scale":
        """That of all rows of `blocks`; a feature that never changes has deviation 1.

        Where several parts lie side by side, of so many features, L2 would hold back a narrow one more than a wide one:
        features of a narrow part get a larger deviation, so that the squares of each part's sum up to the same.
        """
        count, shift = 0, torch.zeros(())
        total = squares = torch.zeros((), dtype=torch.float64)
        for x, _ in blocks:
            if not count:
                shift = x.mean(0)  # near the mean, so that no digits of the variance are lost
            x = x - shift
            count += len(x)
            total = total + x.sum(0).double()
            squares = squares + x.square_().sum(0).double()
        offset = total / count
        deviation = (squares / count - offset.square()).clamp(min=0).sqrt().float()
        deviation = torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
        if len(set(widths)) > 1:
            deviation *= torch.cat([torch.full((width,), math.sqrt(width / max(widths))) for width in widths])
        return cls(mean=shift + offset.float(), deviation=deviation)

    @classmethod
    def none(cls, width: int) -> "Scale":
        """That of features which need none."""
        return cls(mean=torch.zeros(width), deviation=torch.ones(width))

    def apply_(self, x: Tensor) -> Tensor:
        """`x` (B, D) changed in place."""
        return x.sub_(self.mean).div_(self.deviation)


@dataclass(frozen=True, kw_only=True)
class Standardised:
    """The blocks of `rows` on a scale, made anew in each pass."""

    rows: Rows
    scale: Scale
    num_classes: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for x, labels in self.rows.blocks(self.num_classes):
            yield self.scale.apply_(x), labels


def standardised(rows: Rows, scale: Scale, num_classes: int) -> Blocks:
    """The blocks of `rows` on `scale`, kept in memory where they are few."""
    blocks = Standardised(rows=rows, scale=scale, num_classes=num_classes)
    if 4 * len(rows) * rows.width > HELD_BYTES:
        return blocks
    return tuple(blocks)
