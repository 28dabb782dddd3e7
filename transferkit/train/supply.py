"""Where the training loop's inputs come from: image files, each read when its batch is due."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from transferkit import seeds
from transferkit.data import batches
from transferkit.data.augment import Augment
from transferkit.data.decode import eval_view
from transferkit.data.folder import PathTable
from transferkit.data.photos import Photos
from transferkit.train.loop import Supply
from transferkit.zoo.card import Preprocessing
from transferkit.zoo.errors import DataError


def image_supply(
    paths: PathTable, augment: Augment, preprocessing: Preprocessing, *, seed: int, photos: Photos, device: str
) -> Supply:
    """Batches of normalised images on `device`; augmentation is a function of (seed, epoch, row).

    Raises: DataError if a file that was readable before is not any more.
    """

    def supply(rows: list[np.ndarray], epoch: int | None) -> Iterator[tuple[Tensor, np.ndarray]]:
        def view(image, row: int) -> np.ndarray:
            if epoch is None:
                return eval_view(image, preprocessing)
            return augment(image, seed=seeds.integer(seed, "augment", epoch, row))

        for batch in batches.batches(paths, rows, view, photos=photos):
            for row, reason in batch.faults:
                raise DataError(f"{paths[row]} changed while training: {reason}; start again")
            yield batches.normalise(to_device(batch.pixels, device), preprocessing), batch.rows

    return supply


def to_device(pixels: Tensor, device: str) -> Tensor:
    """`pixels` on `device`; on its way to a CUDA device the copy overlaps with what the device computes."""
    if torch.device(device).type == "cuda":
        return pixels.pin_memory().to(device, non_blocking=True)
    return pixels.to(device)
