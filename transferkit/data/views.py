"""What of a photo the network sees, as a function that can be handed to another process."""

from dataclasses import dataclass

import numpy as np

from transferkit import seeds
from transferkit.data.augment import Augment
from transferkit.data.decode import Decoded, eval_view


@dataclass(frozen=True)
class Views:
    """The views of a run's photos: those of an epoch augmented, as a function of (seed, epoch, row), others plain."""

    augment: Augment
    seed: int

    def __call__(self, photo: Decoded, row: int, *, epoch: int | None) -> np.ndarray:
        """The view of a photo, in no epoch that of evaluation. Shapes: (H, W, 3) uint8, (H, W) the network's."""
        if epoch is None:
            return eval_view(photo, self.augment.preprocessing)
        return self.augment(photo, seed=seeds.integer(self.seed, "augment", epoch, row))
