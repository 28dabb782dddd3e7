"""The frozen backbone's features of every image, computed once."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from transferkit.model.build import Backbone
from transferkit.runtime import FP32, arithmetic

EVAL_BATCH = 32  # as fast as any measured on a CPU, and small enough for every accelerator


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
    model: Backbone,
    inputs: Iterable[tuple[Tensor, np.ndarray]],
    *,
    fitted: np.ndarray,
    precision: str = FP32,
) -> Features:
    """The features of `inputs`, which are (x, rows) of a data set of N images.

    Images that a head is fitted to are computed in `precision`, mirrored too; the others, which only judge it, as they
    are predicted later: in single precision.

    Args: fitted (N,) says which rows a head is fitted to.
    Shapes: x (B, 3, H, W), rows (B,).
    """
    model.eval()
    plain, mirrored = (np.full((len(fitted), model.num_features), np.nan, np.float32) for _ in range(2))
    for x, rows in inputs:
        wanted = fitted[rows]  # (B,)
        if wanted.any():
            chosen = x[torch.from_numpy(wanted)]
            plain[rows[wanted]] = _computed(model, chosen, precision)
            mirrored[rows[wanted]] = _computed(model, chosen.flip(3), precision)
        if not wanted.all():
            plain[rows[~wanted]] = _computed(model, x[torch.from_numpy(~wanted)], FP32)
    return Features(plain=plain, mirrored=mirrored)


def _computed(model: Backbone, x: Tensor, precision: str) -> np.ndarray:
    """Shapes: (B, 3, H, W) -> (B, D) float32."""
    with arithmetic(x.device, precision):
        return model.features(filled(x))[: len(x)].float().cpu().numpy()


def filled(x: Tensor) -> Tensor:
    """`x` and blank images after it, up to a multiple of `EVAL_BATCH`.

    The kernel that a library takes, and so the last bits of a row, depend on the size of a batch. Filled up, an image
    gives the same bits whatever others it comes with.
    """
    blank = -len(x) % EVAL_BATCH
    return torch.cat([x, x.new_zeros(blank, *x.shape[1:])]) if blank else x
