"""The frozen backbone's features of every image, computed once."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from transferkit.model.build import Backbone
from transferkit.model.feature_cache import FeatureCache
from transferkit.runtime import FP32, arithmetic

EVAL_BATCH = 32  # as fast as any measured on a CPU, and small enough for every accelerator


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the final linear layer receives for the images of a data set; rows that were not computed are NaN.

    Shapes: plain (N, D) of the images as they are, mirrored (N, D) of their mirror images.
    """

    plain: np.ndarray
    mirrored: np.ndarray

    @classmethod
    def empty(cls, count: int, width: int) -> "Features":
        """Those of `count` images, none of them computed."""
        plain, mirrored = (np.full((count, width), np.nan, np.float32) for _ in range(2))
        return cls(plain=plain, mirrored=mirrored)

    def subset(self, rows: np.ndarray) -> "Features":
        """The features of `rows` alone."""
        return Features(plain=self.plain[rows], mirrored=self.mirrored[rows])

    def plain_rows(self, rows: np.ndarray) -> Tensor:
        """The images as they are. Shapes: rows (n,) -> (n, D)."""
        return torch.from_numpy(self.plain[rows])

    def views(self, rows: np.ndarray) -> Tensor:
        """Both views of `rows`, one after the other. Shapes: rows (n,) -> (2n, D)."""
        return torch.from_numpy(np.concatenate([self.plain[rows], self.mirrored[rows]]))


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A frozen network that gives features, and where they are kept from run to run.

    Images that a head is fitted to are computed in `precision`, mirrored too; the others, which only judge it, as they
    are predicted later: in single precision.
    """

    model: Backbone
    precision: str = FP32
    cache: FeatureCache | None = None

    @property
    def remembers(self) -> bool:
        """Whether features of this network are kept."""
        return self.cache is not None and not self.cache.is_empty

    def recall(self, features: Features, sha256: np.ndarray, *, fitted: np.ndarray) -> np.ndarray:
        """Fill in what is kept of the files of those hashes, "" for one that is not known; which rows are complete.

        Shapes: sha256 (N,), fitted (N,) whether a head is fitted to a row -> (N,).
        """
        is_complete = np.ones(len(sha256), bool)
        for view, array, rows in self._views(features, fitted):
            array[rows] = self.cache.get(view, sha256[rows], width=array.shape[1])
            is_complete[rows] &= ~np.isnan(array[rows, 0])
        return is_complete

    @torch.no_grad()
    def fill(self, features: Features, inputs: Iterable[tuple[Tensor, np.ndarray]], *, fitted: np.ndarray) -> None:
        """Fill in the features of `inputs`, which are (x, rows).

        Shapes: fitted (N,) whether a head is fitted to a row; x (B, 3, H, W), rows (B,).
        """
        self.model.eval()
        for x, rows in inputs:
            wanted = fitted[rows]  # (B,)
            if wanted.any():
                chosen = x[torch.from_numpy(wanted)]
                features.plain[rows[wanted]] = self._computed(chosen, self.precision)
                features.mirrored[rows[wanted]] = self._computed(chosen.flip(3), self.precision)
            if not wanted.all():
                features.plain[rows[~wanted]] = self._computed(x[torch.from_numpy(~wanted)], FP32)

    def keep(self, features: Features, sha256: np.ndarray, *, fitted: np.ndarray) -> None:
        """Keep features for later runs. Shapes: as `recall`."""
        if self.cache is not None:
            for view, array, rows in self._views(features, fitted):
                self.cache.add(view, sha256[rows], array[rows])

    def _views(self, features: Features, fitted: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """The name of each view with its precision, its features and the rows that have it."""
        return [
            (f"plain-{self.precision}", features.plain, np.flatnonzero(fitted)),
            (f"mirrored-{self.precision}", features.mirrored, np.flatnonzero(fitted)),
            (f"plain-{FP32}", features.plain, np.flatnonzero(~fitted)),
        ]

    def _computed(self, x: Tensor, precision: str) -> np.ndarray:
        """Shapes: (B, 3, H, W) -> (B, D) float32."""
        with arithmetic(x.device, precision):
            return self.model.features(filled(x))[: len(x)].float().cpu().numpy()


def filled(x: Tensor) -> Tensor:
    """`x` and blank images after it, up to a multiple of `EVAL_BATCH`.

    The kernel that a library takes, and so the last bits of a row, depend on the size of a batch. Filled up, an image
    gives the same bits whatever others it comes with.
    """
    blank = -len(x) % EVAL_BATCH
    return torch.cat([x, x.new_zeros(blank, *x.shape[1:])]) if blank else x
