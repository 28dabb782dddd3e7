"""Two ways to fit a head to features computed once: solve for it, or train it by mini-batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.data import split
from transferkit.model.features import Features
from transferkit.train import loop, probe
from transferkit.train.descent import Work
from transferkit.train.loop import Examples

FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A probe and its evidence.

    Fields: final is fitted on train and val, of_train on train alone; held_out (N, K) are the out-of-fold logits of
    the rows of train and val, NaN elsewhere.
    """

    final: probe.Linear
    of_train: probe.Linear
    l2: float
    held_out: np.ndarray


def fit_probe(
    features: Features,
    parts: tuple[Examples, Examples],
    *,
    l2: float | None,
    groups: np.ndarray | None,
    work: Work,
) -> Probe:
    """Solve for a head on train and val, and on train alone, both `parts`; L2 by 5-fold cross-validation over both.

    Each image counts twice, as it is and mirrored; both views of an image, and all images of a group, lie in the same
    fold.

    Args: l2, None to choose it; groups (N,) names images that belong together.
    """
    train, val = parts
    rows = np.sort(np.concatenate([train.rows, val.rows]))
    labels = train.labels[rows]
    folds = split.folds(labels, FOLDS, seed=work.plan.seed, groups=None if groups is None else groups[rows])
    weights = _probe_weights(labels, train.num_classes, work.plan.balance)
    choice = probe.choose_l2(
        features.views(rows),
        torch.from_numpy(np.tile(labels, 2)),
        np.tile(folds, 2),
        judged=len(rows),
        class_weights=weights,
        path=probe.L2_PATH if l2 is None else (l2,),
        on_value=work.on_record,
    )
    held_out = np.full((len(train.labels), train.num_classes), np.nan)
    held_out[rows] = choice.logits

    def fit(chosen: np.ndarray) -> probe.Linear:
        labels = torch.from_numpy(np.tile(train.labels[chosen], 2))
        return probe.fit(features.views(chosen), labels, choice.l2, class_weights=weights)

    return Probe(final=fit(rows), of_train=fit(train.rows), l2=choice.l2, held_out=held_out)


def _probe_weights(labels: np.ndarray, num_classes: int, balance: str) -> Tensor:
    """Class weights (K,) of the probe's loss; drawing classes equally often and weighting them is the same problem."""
    if balance == "none":
        return torch.ones(num_classes)
    return torch.from_numpy(loop.class_weights(labels, num_classes)).float()


@dataclass(frozen=True, kw_only=True)
class Standardised:
    """Features shifted and scaled to mean 0 and deviation 1 over the training images.

    Shapes: plain and mirrored (N, D), mean and deviation (D,).
    """

    plain: Tensor
    mirrored: Tensor
    mean: Tensor
    deviation: Tensor

    def supply(self, batches: list[np.ndarray], epoch: int | None) -> Iterator[tuple[Tensor, np.ndarray]]:
        """A supply for the training loop: the images as they are in even epochs, mirrored in odd ones."""
        view = self.mirrored if epoch is not None and epoch % 2 else self.plain
        for rows in batches:
            yield view[torch.from_numpy(rows)], rows

    def for_raw(self, head: nn.Linear) -> probe.Linear:
        """The classifier that does on features as they are what `head` does on these."""
        return probe.restored(
            probe.Linear(weight=head.weight.detach(), bias=head.bias.detach()), self.mean, self.deviation
        )


def standardise(features: Features, rows: np.ndarray) -> Standardised:
    """`features` on the scale of those of `rows`."""
    mean, deviation = probe.statistics(features.views(rows))
    plain, mirrored = ((torch.from_numpy(view) - mean) / deviation for view in (features.plain, features.mirrored))
    return Standardised(plain=plain, mirrored=mirrored, mean=mean, deviation=deviation)
