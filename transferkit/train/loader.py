"""Where the training loop's inputs come from: image files, each read when its batch is due."""

from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from transferkit.data import batches
from transferkit.data.batches import Batch
from transferkit.data.folder import PathTable
from transferkit.data.photos import Photos
from transferkit.data.views import Views
from transferkit.data.worker_pool import WorkerPool
from transferkit.model.boundary import Activations, Boundary
from transferkit.model.build import Preprocessing
from transferkit.model.eval_batch import batch_of
from transferkit.runtime import FP32
from transferkit.train.loop import ImageLoader, Inputs, Loader, eval_batches, to_device
from transferkit.zoo.errors import DataError


def image_loader(
    paths: PathTable, views: Views, *, photos: Photos, device: str, pool: WorkerPool | None = None
) -> ImageLoader:
    """Batches of normalised images on `device`, read by threads or, of the same photos and views, by a `pool`.

    Raises: DataError if a file that was readable before is not any more.
    """

    if pool:
        pool.show(views)

    def read(rows: list[np.ndarray], epoch: int | None) -> Iterator[Batch]:
        if pool:
            return pool.batches(paths, rows, epoch=epoch)
        return batches.batches(paths, rows, partial(views, epoch=epoch), photos=photos)

    def loader(rows: list[np.ndarray], epoch: int | None) -> Iterator[tuple[Tensor, np.ndarray]]:
        found = read(rows, epoch)
        return _on_device(_whole(found, paths), views.augment.preprocessing, torch.device(device))

    return loader


def _whole(found: Iterator[Batch], paths: PathTable) -> Iterator[Batch]:
    for batch in found:
        for row, reason in batch.faults:
            raise DataError(f"{paths[row]} changed while training: {reason}; start again")
        yield batch


def _on_device(
    found: Iterator[Batch], preprocessing: Preprocessing, device: torch.device
) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Batches as a network takes them, and their rows; a GPU copies one while it computes with the one before."""
    if device.type != "cuda":
        for batch in found:
            yield batches.normalise(batch.pixels.to(device), preprocessing), batch.rows
        return
    copies, ahead = torch.cuda.Stream(device), deque()
    for batch in chain(found, [None]):
        if batch:
            with torch.cuda.stream(copies):
                x = batches.normalise(to_device(batch.pixels, device), preprocessing)
                ahead.append((x, batch.rows, copies.record_event()))
        while len(ahead) > (1 if batch else 0):
            x, rows, is_there = ahead.popleft()
            computing = torch.cuda.current_stream(device)
            computing.wait_event(is_there)
            x.record_stream(computing)  # its memory is not another's before this stream is through with it
            yield x, rows


def repeated(images: ImageLoader, views: int) -> ImageLoader:
    """The same in turn: epoch e has the augmentation of epoch e mod `views`."""

    def loader(rows: list[np.ndarray], epoch: int | None) -> Iterator[tuple[Tensor, np.ndarray]]:
        return images(rows, None if epoch is None else epoch % views)

    return loader


def above(images: ImageLoader, boundary: Boundary, kept: Activations, *, precision: str, device: str) -> Loader:
    """Batches of what the part above `boundary` takes; what lies below runs once for each image and view of `kept`.

    Args: images, which repeat after as many epochs as `kept` has views. precision, that of the views to train on;
    images as they are, which judge, are computed in single precision.
    """

    def loader(rows: list[np.ndarray], epoch: int | None) -> Iterator[tuple[Inputs, np.ndarray]]:
        view = 0 if epoch is None else 1 + epoch % kept.views
        missing = kept.missing(np.concatenate(rows), view)
        for x, some in images(eval_batches(missing, batch_of(boundary.above.whole)), epoch):
            kept.put(some, view, boundary.handed(x, FP32 if epoch is None else precision))
        for batch in rows:
            yield kept.get(batch, view, device=device), batch

    return loader
