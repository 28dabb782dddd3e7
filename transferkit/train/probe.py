"""A linear classifier on fixed features: a convex problem, solved by L-BFGS over as many rows as there are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.model.build import Backbone
from transferkit.tasks import SINGLE_LABEL, Task
from transferkit.train import lbfgs
from transferkit.train.feature_blocks import Blocks, Rows, Scale, standardised
from transferkit.train.objective import Objective, scaled, unscaled


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A linear classifier, or the mean of several on features that lie side by side.

    Shapes: weight (K, D), bias (K,); biases (H, K), those of the final layers where they differ, whose mean is `bias`.
    """

    weight: Tensor
    bias: Tensor
    biases: Tensor | None = None

    @property
    def tensors(self) -> list[Tensor]:
        """All of its numbers."""
        return [each for each in (self.weight, self.bias, self.biases) if each is not None]

    def put_into(self, model: Backbone) -> None:
        """Make it the head of a network that has those features."""
        model.set_linear(self.weight, self.bias if self.biases is None else self.biases)

    def logits(self, features: Tensor) -> Tensor:
        """Shapes: features (N, D) -> (N, K)."""
        return nn.functional.linear(features, self.weight, self.bias)

    def predict(self, view: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The logits of some rows of an array that may be larger than memory.

        Shapes: view (N, D), rows (n,) -> (n, K).
        """
        blocks = Rows(views=(view,), rows=rows, labels=rows).blocks(len(self.bias))
        return np.concatenate([np.empty((0, len(self.bias)), np.float32), *(self.logits(x).numpy() for x, _ in blocks)])


def fit(rows: Rows, l2: float, *, class_weights: Tensor, start: Linear | None = None) -> Linear:
    """The weights that minimise the mean loss of the task + l2 * sum(W ** 2), where W acts on standardised features.

    Memory beside the features does not grow with the rows: many are read in blocks, anew for each step.

    Args: class_weights (K,); start is where the search begins.
    """
    scale, objective = prepare(rows, class_weights)
    point = solve(objective, l2, None if start is None else scaled(start.weight, start.bias, scale))
    return linear(point, scale)


def prepare(rows: Rows, class_weights: Tensor) -> tuple[Scale, Objective]:
    """The scale of the features, and the objective of points on it."""
    scale = Scale.of(rows.blocks(len(class_weights)), rows.widths)
    blocks = standardised(rows, scale, len(class_weights))
    shares = rows.task.shares(rows.labels, class_weights, views=len(rows.views))
    return scale, Objective(blocks=blocks, scale=Scale.none(rows.width), shares=shares, task=rows.task)


def solve(objective: Objective, l2: float, start: Tensor | None) -> Tensor:
    """The point (K, D + 1) of least loss with `l2`; the search begins at `start`."""
    if start is None:
        start = torch.zeros(objective.shares.shape[-1], len(objective.scale.mean) + 1)
    return lbfgs.minimise(replace(objective, l2=l2), start)


def linear(point: Tensor, scale: Scale) -> Linear:
    """The classifier for features as they are that `point` is on `scale`."""
    weight, bias = unscaled(point, scale)
    return Linear(weight=weight, bias=bias)


def mean(parts: Sequence[Linear], layers: Sequence[int]) -> Linear:
    """The classifiers of features that lie side by side as one, whose answer is the mean of theirs.

    Args: layers, the final layers of the network that each of them is of, which count the same.
    """
    shares = [count / sum(layers) for count in layers]
    biases = torch.cat([part.bias.expand(count, -1) for part, count in zip(parts, layers)])
    weight = torch.cat([part.weight * share for part, share in zip(parts, shares)], 1)
    return Linear(weight=weight, bias=biases.mean(0), biases=biases)


def score(blocks: Blocks, classifier: Linear, task: Task = SINGLE_LABEL) -> dict[str, float]:
    """Mean log loss and accuracy over the rows of `blocks`."""
    loss, hits, count = 0.0, 0, 0
    for x, labels in blocks:
        logits, y = classifier.logits(x).numpy(), labels.numpy()
        loss += float(task.log_losses(logits, y).sum(dtype=np.float64))
        hits += int(task.right(logits, y).sum())
        count += len(y)
    return {"loss": loss / count, "accuracy": hits / count}
