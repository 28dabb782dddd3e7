"""The frozen backbone's features of every image, computed once."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from transferkit.model.build import Backbone


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the final linear layer receives for the images of a data set; rows that were not computed are NaN.

    Shapes: plain (N, D) of the images as they are, mirrored (N, D) of their mirror images.
    """

    plain: np.ndarray
    mirrored: np.ndarray

    def subset(self, rows: np.ndarray) -> "Features":
        """The features of `rows` alone."""
        return Features(plain=self.plain[rows], mirrored=self.mirrored[rows])

    def plain_rows(self, rows: np.ndarray) -> Tensor:
        """The images as they are. Shapes: rows (n,) -> (n, D)."""
        return torch.from_numpy(self.plain[rows])

    def views(self, rows: np.ndarray) -> Tensor:
        """Both views of `rows`, one after the other. Shapes: rows (n,) -> (2n, D)."""
        return torch.from_numpy(np.concatenate([self.plain[rows], self.mirrored[rows]]))


@torch.no_grad()
def extract(
    model: Backbone, inputs: Iterable[tuple[Tensor, np.ndarray]], *, count: int, mirror: np.ndarray
) -> Features:
    """The features of `inputs`, which are (x, rows) of a data set of `count` images.

    Args: mirror (N,) says which rows are also wanted mirrored.
    Shapes: x (B, 3, H, W), rows (B,).
    """
    model.eval()
    plain = np.full((count, model.num_features), np.nan, np.float32)
    mirrored = np.full((count, model.num_features), np.nan, np.float32)
    for x, rows in inputs:
        plain[rows] = model.features(x).float().cpu().numpy()
        wanted = mirror[rows]
        if wanted.any():
            mirrored[rows[wanted]] = model.features(x[torch.from_numpy(wanted)].flip(3)).float().cpu().numpy()
    return Features(plain=plain, mirrored=mirrored)
