"""A linear classifier on fixed features: a convex problem, solved by L-BFGS, its L2 chosen by cross-validation."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferkit import metrics
from transferkit.train import optim

L2_PATH = tuple(
    round(float(v), 5) for v in 10 ** np.arange(0, -4.5, -0.5)
)  # strong to weak: a fit starts from the one before
OnValue = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A linear classifier. Shapes: weight (K, D), bias (K,)."""

    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Shapes: features (N, D) -> (N, K)."""
        return nn.functional.linear(features, self.weight, self.bias)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The L2 that cross-validation prefers, and the logits (judged, K) of each image from a fit without it."""

    l2: float
    logits: np.ndarray


def fit(
    features: Tensor, labels: Tensor, l2: float, *, class_weights: Tensor | None = None, start: Linear | None = None
) -> Linear:
    """The weights that minimise mean cross-entropy + l2 * sum(W ** 2), where W acts on standardised features.

    Args: class_weights (K,) also say how many classes there are where `start` does not; start is where the search
    begins. Shapes: features (N, D), labels (N,).
    """
    mean, deviation = statistics(features)
    x = (features - mean) / deviation  # (N, D)
    num_classes = len(class_weights) if class_weights is not None else int(labels.max()) + 1
    weight, bias = torch.zeros(num_classes, features.shape[1]), torch.zeros(num_classes)
    if start is not None:
        weight, bias = start.weight * deviation, start.bias + start.weight @ mean
    return restored(_minimise(x, labels, l2, weight, bias, class_weights), mean, deviation)


def statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature; a feature that never changes has deviation 1."""
    deviation = features.std(0, correction=0)
    return features.mean(0), torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))


def _minimise(
    x: Tensor, labels: Tensor, l2: float, weight: Tensor, bias: Tensor, class_weights: Tensor | None
) -> Linear:
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    optimizer = optim.lbfgs([weight, bias])

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(nn.functional.linear(x, weight, bias), labels, weight=class_weights)
        value = value + l2 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return Linear(weight=weight.detach(), bias=bias.detach())


def restored(standardised: Linear, mean: Tensor, deviation: Tensor) -> Linear:
    """The same classifier for features as they are."""
    weight = standardised.weight / deviation
    return Linear(weight=weight, bias=standardised.bias - weight @ mean)


def choose_l2(
    features: Tensor,
    labels: Tensor,
    folds: np.ndarray,
    *,
    judged: int,
    class_weights: Tensor,
    path: tuple[float, ...] = L2_PATH,
    on_value: OnValue,
) -> Choice:
    """The L2 of the path with the least out-of-fold log loss on the first `judged` rows.

    The path runs from strong to weak and ends once the loss rises; `on_value` gets a metrics line for each value.

    Shapes: features (N, D), labels (N,), folds (N,) with the number of the fold in which an image is held out.
    """
    best, best_loss = None, np.inf
    for epoch, (l2, held_out, train, seconds) in enumerate(_path(features, labels, folds, class_weights, path)):
        held_out = held_out[:judged]
        scored = metrics.scores(held_out, labels.numpy()[:judged])
        val = {"loss": scored["loss"], "accuracy": scored["accuracy"]}
        on_value(
            {"epoch": epoch, "phase": "probe", "lr": None, "l2": l2, "train": train, "val": val, "seconds": seconds}
        )
        if val["loss"] >= best_loss:
            break
        best, best_loss = Choice(l2=l2, logits=held_out), val["loss"]
    return best


def _path(
    features: Tensor, labels: Tensor, folds: np.ndarray, class_weights: Tensor, path: tuple[float, ...]
) -> Iterator[tuple[float, np.ndarray, dict[str, float], float]]:
    """For each L2: the held-out logits (N, K), the scores on the images fitted, and the seconds it took."""
    parts = [torch.from_numpy(folds == fold) for fold in np.unique(folds)]
    fitted: list[Linear | None] = [None] * len(parts)
    for l2 in path:
        started = time.monotonic()
        held_out = np.zeros((len(labels), len(class_weights)))
        losses, hits = [], []
        for number, part in enumerate(parts):
            x, y = features[~part], labels[~part]
            fitted[number] = fit(x, y, l2, class_weights=class_weights, start=fitted[number])
            held_out[part.numpy()] = fitted[number].logits(features[part]).numpy()
            logits = fitted[number].logits(x).numpy()
            losses.append(metrics.log_losses(logits, y.numpy()).mean())
            hits.append((logits.argmax(1) == y.numpy()).mean())
        train = {"loss": float(np.mean(losses)), "accuracy": float(np.mean(hits))}
        yield l2, held_out, train, round(time.monotonic() - started, 3)
