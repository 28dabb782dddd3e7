"""Whether an image is like any of those trained on: how near its features lie to the nearest of theirs.

Source: Sun et al. 2022 (nearest neighbours of normalised features), https://arxiv.org/abs/2204.06507
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

NEIGHBOURS = 2
FARTHEST = 0.06  # the images trained on that are least like the others: those no more like them are called unlike
FALSE_ALARMS = 0.03  # of images like those trained on, how many are called unlike then
RANK = 128  # of the space that features are kept in
MOST = 4000  # images that are kept
LEAST = 10  # images: of fewer nothing is known


class Familiarity(nn.Module):
    """The directions of the features of images trained on, and how near to them others of their kind are.

    Args: widths of the final layers' inputs, whose features are normalised one by one; limit, the mean cosine to the
    nearest directions below which an image is unlike all of them.

    Shapes: basis (D, R), directions (n, R), float32.
    """

    basis: Tensor
    directions: Tensor

    def __init__(self, *, basis: Tensor, directions: Tensor, widths: tuple[int, ...], limit: float):
        super().__init__()
        self.register_buffer("basis", basis)
        self.register_buffer("directions", directions)
        self.widths, self.limit = widths, limit

    def forward(self, features: Tensor) -> Tensor:
        """How much nearer than the limit, below 0 of images unlike any trained on. Shapes: (B, D) -> (B,)."""
        return _nearest(_normalised(features, self.widths) @ self.basis @ self.directions.T) - self.limit


def learn(features: np.ndarray, folds: np.ndarray, *, widths: tuple[int, ...]) -> Familiarity | None:
    """From the features of images trained on; the limit is the mean likeness of those that are least like other folds.

    A mean, since of few images one quantile may lie far from the next. None of so few that nothing can be said.

    Args: folds, which keep images together that are copies of each other.
    Shapes: features (n, D), folds (n,).
    """
    if len(features) < LEAST or len(np.unique(folds)) < 2 or not np.isfinite(features).all():
        return None
    x = _normalised(torch.from_numpy(features).float(), widths)
    basis = _basis(x)
    directions = x @ basis
    likeness, fold = directions @ directions.T, torch.from_numpy(folds)
    likeness[fold[:, None] == fold] = -1
    nearest = _nearest(likeness).numpy()
    if not np.isfinite(nearest).all():
        return None
    limit = float(np.sort(nearest)[: max(1, round(FARTHEST * len(x)))].mean())
    return Familiarity(basis=basis, directions=directions, widths=widths, limit=limit)


def _normalised(features: Tensor, widths: tuple[int, ...]) -> Tensor:
    """Features of length 1, those of each layer as long as those of another. Shapes: (N, D) -> (N, D)."""
    parts = features.split(widths, dim=1)
    return torch.cat([functional.normalize(part, dim=1) for part in parts], dim=1) / len(parts) ** 0.5


def _basis(x: Tensor) -> Tensor:
    """The directions that hold most of the rows. Shapes: (n, D) -> (D, R)."""
    if x.shape[1] <= RANK:
        return torch.eye(x.shape[1])
    exact = x.double()  # in single precision vectors of values near 0 may be no numbers
    if len(x) >= x.shape[1]:  # the smaller of the two matrices of products
        return torch.linalg.eigh(exact.T @ exact)[1][:, -RANK:].float().contiguous()
    values, vectors = (found[..., -RANK:] for found in torch.linalg.eigh(exact @ exact.T))
    is_there = values > 1e-6 * values[-1]
    return (exact.T @ vectors[:, is_there] / values[is_there].sqrt()).float()


def _nearest(likeness: Tensor) -> Tensor:
    """The mean of the largest in each row; shapes (N, n) -> (N,)."""
    return likeness.topk(min(NEIGHBOURS, likeness.shape[1]), dim=1).values.mean(1)
