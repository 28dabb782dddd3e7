"""The frozen backbone's features of every image, computed once."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from transferkit import ranks
from transferkit.model.build import Backbone
from transferkit.model.eval_batch import batch_of, filled, halved, joined
from transferkit.model.feature_cache import FeatureCache
from transferkit.runtime import FP32, arithmetic


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the final linear layer receives for the images of a data set; rows that were not computed are NaN.

    A head is fitted to all `views`: the images as they are, their mirror images, augmented ones. It is judged on the
    first of them. `widths` are how many features each final layer receives, together D; () where they are of one.

    Shapes: (N, D) each.
    """

    views: tuple[np.ndarray, ...]
    widths: tuple[int, ...] = ()

    @classmethod
    def empty(cls, count: int, model: Backbone, *, views: int) -> "Features":
        """Those of `count` images, none of them computed."""
        shape = count, model.num_features
        return cls(views=tuple(np.full(shape, np.nan, np.float32) for _ in range(views)), widths=model.widths)

    @property
    def plain(self) -> np.ndarray:
        """Those of the images as they are."""
        return self.views[0]

    def subset(self, rows: np.ndarray) -> "Features":
        """The features of `rows` alone."""
        return replace(self, views=tuple(view[rows] for view in self.views))


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A frozen network that gives features, and where they are kept from run to run.

    Images that a head is fitted to are computed in `precision`, in `views` views: as they are, mirrored where it
    `mirrors`, then augmented. The others, which only judge it, as they are predicted later: in single precision.
    """

    model: Backbone
    views: int = 2
    mirrors: bool = True
    precision: str = FP32
    cache: FeatureCache | None = None

    @property
    def first_views(self) -> int:
        """How many views the first pass computes: the image as it is, and its mirror image if that is wanted."""
        return min(self.views, 2 if self.mirrors else 1)

    @property
    def remembers(self) -> bool:
        """Whether features of this network are kept."""
        return self.cache is not None and not self.cache.is_empty

    def recall(self, features: Features, sha256: np.ndarray, *, fitted: np.ndarray) -> np.ndarray:
        """Fill in what is kept of the files of those hashes, "" for one that is not known; which rows are complete.

        Shapes: sha256 (N,), fitted (N,) whether a head is fitted to a row -> (N,).
        """
        is_complete = np.full(len(sha256), self.cache is not None)
        if self.cache is None:
            return is_complete
        for view, array, rows in self._views(features, fitted):
            array[rows] = self.cache.get(view, sha256[rows].tolist(), width=array.shape[1])
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
                for view, turned in zip(features.views, (chosen, chosen.flip(3))):
                    view[rows[wanted]] = self._computed(turned, self.precision)
            if not wanted.all():
                features.plain[rows[~wanted]] = self._computed(x[torch.from_numpy(~wanted)], FP32)

    @torch.no_grad()
    def augmented(self, inputs: Iterable[tuple[Tensor, np.ndarray]], *, count: int) -> np.ndarray:
        """One more view of `count` images, (count, D); rows that are not in `inputs` are NaN."""
        found = np.full((count, self.model.num_features), np.nan, np.float32)
        self.model.eval()
        for x, rows in inputs:
            found[rows] = self._computed(x, self.precision)
        return found

    def agree(self) -> None:
        """Keep nothing where a rank may not: the first one writes the features of all."""
        if self.cache and any(ranks.gather(self.cache.is_closed)):
            self.cache.close()

    def keep(self, features: Features, sha256: np.ndarray, *, fitted: np.ndarray) -> list[Path]:
        """Keep features for later runs; the files they are in, none if one was not written. Shapes: as `recall`."""
        if self.cache is None:
            return []
        views = [(view, rows, array) for view, array, rows in self._views(features, fitted) if len(rows)]
        written = [self.cache.add(view, sha256[rows].tolist(), array[rows]) for view, rows, array in views]
        paths = [path for path in written if path is not None]
        return paths if len(paths) == len(written) else []

    def _views(self, features: Features, fitted: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """The name of each view with its precision, its features and the rows that have it."""
        of_fitted = zip(("plain", "mirrored"), features.views)
        return [
            *((f"{name}-{self.precision}", view, np.flatnonzero(fitted)) for name, view in of_fitted),
            (f"plain-{FP32}", features.plain, np.flatnonzero(~fitted)),
        ]

    def _computed(self, x: Tensor, precision: str) -> np.ndarray:
        """Shapes: (B, 3, H, W) -> (B, D) float32."""
        whole = filled(x, batch_of(self.model))
        with arithmetic(x.device, precision):
            found = halved(lambda rows: self.model.features(whole[rows]), len(whole), device=x.device)
        if len(found) > 1 and self.cache:
            self.cache.close()
        return joined(found)[: len(x)].float().cpu().numpy()
