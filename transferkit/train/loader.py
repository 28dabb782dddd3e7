"""Where the training loop's inputs come from: image files, each read when its batch is due."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from transferkit import seeds
from transferkit.data import batches
from transferkit.data.augment import Augment
from transferkit.data.decode import eval_view
from transferkit.data.folder import PathTable
from transferkit.data.photos import Photos
from transferkit.model.boundary import Activations, Boundary
from transferkit.model.eval_batch import batch_of
from transferkit.runtime import FP32
from transferkit.train.loop import ImageLoader, Inputs, Loader, eval_batches, to_device
from transferkit.zoo.errors import DataError


def image_loader(paths: PathTable, augment: Augment, *, seed: int, photos: Photos, device: str) -> ImageLoader:
    """Batches of normalised images on `device`; augmentation is a function of (seed, epoch, row).

    Raises: DataError if a file that was readable before is not any more.
    """

    def loader(rows: list[np.ndarray], epoch: int | None) -> Iterator[tuple[Tensor, np.ndarray]]:
        def view(image, row: int) -> np.ndarray:
            if epoch is None:
                return eval_view(image, augment.preprocessing)
            return augment(image, seed=seeds.integer(seed, "augment", epoch, row))

        for batch in batches.batches(paths, rows, view, photos=photos):
            for row, reason in batch.faults:
                raise DataError(f"{paths[row]} changed while training: {reason}; start again")
            yield batches.normalise(to_device(batch.pixels, device), augment.preprocessing), batch.rows

    return loader


def repeated(images: ImageLoader, views: int) -> ImageLoader:
    """The same in turn: epoch e has the augmentation of epoch e mod `views`."""

    def loader(rows: list[np.ndarray], epoch: int | None) -> Iterator[tuple[Tensor, np.ndarray]]:
        return images(rows, None if epoch is None else epoch % views)

    return loader


def above(images: ImageLoader, boundary: Boundary, kept: Activations, *, precision: str, device: str) -> Loader:
    """Batches of what the part above `boundary` takes; what lies below runs once for each image and view of `kept`.

    Args: images, which repeat after as many epochs as `kept` has views, less one for the images as they are. precision,
    that of the views to train on; images as they are, which judge, are computed in single precision.
    """

    def loader(rows: list[np.ndarray], epoch: int | None) -> Iterator[tuple[Inputs, np.ndarray]]:
        view = 0 if epoch is None else 1 + epoch % (kept.views - 1)
        missing = kept.missing(np.concatenate(rows), view)
        for x, some in images(eval_batches(missing, batch_of(boundary.above.whole)), epoch):
            kept.put(some, view, boundary.handed(x, FP32 if epoch is None else precision))
        for batch in rows:
            yield kept.get(batch, view, device=device), batch

    return loader
