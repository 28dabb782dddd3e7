"""Files to batches of pixels with threads.

Pillow, OpenCV and NumPy release the interpreter's lock, so that nothing has to be forked or pickled.
"""

import functools
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from transferkit.data.decode import Decoded, DecodeError
from transferkit.data.listing import PathTable
from transferkit.data.photos import Photos
from transferkit.zoo import stops
from transferkit.zoo.card import Preprocessing

View = Callable[[Decoded, int], np.ndarray]  # (decoded image, row) -> (H, W, 3) uint8


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """The images of some rows, less those in `faults`; where all are, it holds no image and pixels are (0, 3, 0, 0).

    Shapes: rows (b,) int64; pixels (b, 3, H, W) uint8 in channels_last memory; sha256 and bytes of length b.
    """

    rows: np.ndarray
    pixels: Tensor
    sha256: list[str]
    bytes: list[int]
    faults: list[tuple[int, str]]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Item:
    row: int
    pixels: np.ndarray | None = None
    sha256: str = ""
    bytes: int = 0
    fault: str = ""


def batches(paths: PathTable, rows: Sequence[np.ndarray], view: View, *, photos: Photos) -> Iterator[Batch]:
    """Yield one batch for each array of `rows`; what it holds does not depend on the threads and the store of `photos`.

    A file that cannot be read or decoded becomes a fault with its reason; an error of `view` is raised. At most two
    batches are held ahead of the consumer; no workers do all in the caller's thread. When the consumer stops early,
    the images being decoded are finished and the threads end.
    """
    items = _items(paths, rows, view, photos=photos)
    try:
        for batch in rows:
            yield _batch(list(islice(items, len(batch))))
    finally:
        items.close()
        photos.remember()


def normalise(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The network's input: scaled to 0..1, less the mean, over the standard deviation.

    Shapes: (B, 3, H, W) uint8 -> (B, 3, H, W) float32 in channels_last memory, on the same device.
    Source: the arithmetic, and so every bit, of torchvision's ToTensor and Normalize.
    """
    mean, std = (
        _repeated(values, pixels.shape[3], pixels.device)  # (W * 3,)
        for values in (preprocessing.mean, preprocessing.std)
    )
    x = pixels.to(torch.float32, memory_format=torch.channels_last)
    lines = x.permute(0, 2, 3, 1).view(len(x), x.shape[2], -1)  # (B, H, W * 3): x, not three values at a time
    lines.div_(255).sub_(mean).div_(std)
    return x


@functools.lru_cache(maxsize=16)
def _repeated(values: tuple[float, ...], times: int, device: torch.device) -> Tensor:
    """The values so many times on `device`; kept, since a copy there makes the caller wait."""
    return torch.tensor(values, device=device).repeat(times)


def _items(paths: PathTable, rows: Sequence[np.ndarray], view: View, *, photos: Photos) -> Generator[_Item]:
    every_row = (int(row) for batch in rows for row in batch)
    if photos.workers == 0:
        yield from (_prepare(paths, row, view, photos=photos) for row in every_row)
        return
    ahead = 2 * max(map(len, rows), default=0)
    pool = ThreadPoolExecutor(photos.workers, thread_name_prefix="decode")
    waiting = deque()
    try:
        for row in every_row:
            waiting.append(pool.submit(_prepare, paths, row, view, photos=photos))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(paths: PathTable, row: int, view: View, *, photos: Photos) -> _Item:
    try:
        photo = photos.read(paths[row])
    except DecodeError as error:
        return _Item(row=row, fault=str(error))
    return _Item(row=row, pixels=view(photo.image, row), sha256=photo.sha256, bytes=photo.bytes)


def _batch(items: list[_Item]) -> Batch:
    stops.check()  # a stop that a decoder took for damage must not become a fault
    good = [item for item in items if not item.fault]
    views = [item.pixels for item in good if item.pixels is not None]
    pixels = np.stack(views) if views else np.empty((0, 0, 0, 3), np.uint8)  # (b, H, W, 3)
    return Batch(
        rows=np.array([item.row for item in good], np.int64),
        pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2),
        sha256=[item.sha256 for item in good],
        bytes=[item.bytes for item in good],
        faults=[(item.row, item.fault) for item in items if item.fault],
    )
