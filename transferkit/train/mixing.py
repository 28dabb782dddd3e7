"""Batches whose images are mixed with each other, and their labels by the same shares: mixup and CutMix.

timm and torchvision draw the shares from a generator that is carried along; here they are a function of (seed, epoch,
step), and labels may be of any task.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferkit import seeds

Shares = list[tuple[float, np.ndarray]]  # of an image's loss, and the rows (B,) whose labels they are of


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How images are mixed: alpha of the Beta distribution of the shares, 0 for never; of two, a coin decides.

    Each image is mixed with the one before it in the batch, the order of which is drawn anew each epoch.

    Sources: mixup, Zhang et al. 2018, https://arxiv.org/abs/1710.09412; CutMix, Yun et al. 2019, algorithm A1,
    https://arxiv.org/abs/1905.04899
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def of(self, x: Any, rows: np.ndarray, *, seed: int, epoch: int, step: int) -> tuple[Any, Shares]:
        """A batch that is mixed, and whose labels count how much; as it is, whatever it is, where nothing is mixed.

        Shapes: x (B, 3, H, W), rows (B,).
        """
        if not self.mixup and not self.cutmix:
            return x, [(1.0, rows)]
        rng = seeds.generator(seed, "mix", epoch, step)
        cuts = self.cutmix and (not self.mixup or rng.random() < 0.5)
        alpha = self.cutmix if cuts else self.mixup
        share = float(rng.beta(alpha, alpha))
        if cuts:
            box = _box(rng, share, x.shape[2], x.shape[3])
            mixed = x.clone()
            mixed[:, :, box[0], box[1]] = _before(x[:, :, box[0], box[1]])
            share = 1 - _length(box[0]) * _length(box[1]) / (x.shape[2] * x.shape[3])
        else:
            mixed = torch.lerp(_before(x), x, share)
        return mixed, [(share, rows), (1 - share, np.roll(rows, 1))]


def _before(x: Tensor) -> Tensor:
    """In the place of each image the one before it, of the first the last; the memory is laid out as that of `x`."""
    found = torch.empty_like(x)
    found[1:], found[0] = x[:-1], x[-1]
    return found


def _box(rng: np.random.Generator, share: float, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a box anywhere, of 1 - `share` of the image, less what lies beyond its edges."""
    side = math.sqrt(1 - share)
    found = []
    for length in (height, width):
        half, middle = int(length * side) // 2, int(rng.integers(length))
        found.append(slice(max(middle - half, 0), min(middle + half, length)))
    return found[0], found[1]


def _length(cut: slice) -> int:
    return cut.stop - cut.start
