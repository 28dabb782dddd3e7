"""Some of the images of a run, read as its first pass reads all of them, against the clock."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from transferkit.audit import near_copies
from transferkit.data.batches import normalise
from transferkit.data.listing import Listing
from transferkit.model.features import Features
from transferkit.progress import Progress
from transferkit.train.first_pass import FirstPass, Reader
from transferkit.train.loop import eval_batches, to_device
from transferkit.zoo.errors import DataError

READ = 3  # batches, the first of them to warm up


@dataclass(frozen=True, kw_only=True)
class Looked:
    """Images that were looked at, and the seconds that one took.

    Fields: taken, with features; read, seconds until its features are there; compared, those in which it was looked for
    among near copies, which grow little with the number of images.
    """

    taken: FirstPass
    read: float
    compared: float


def drawn(listing: Listing, parts: np.ndarray, count: int, *, look: int) -> Listing:
    """So many images, or all of fewer, drawn at random from those to train and validate on, each to be trained on.

    Args: parts (N,); look, which of several, each at other images.
    """
    rows = np.random.default_rng(look).permutation(np.flatnonzero(parts != "test"))[:count]
    few = listing.subset(np.sort(rows))
    return replace(few, parts=np.full(len(rows), "train"))


def read(listing: Listing, reader: Reader, size: int) -> Looked:
    """Read all of `listing`, in batches of `size`. Raises: DataError if none of them can be read."""
    reader, greys = near_copies.with_greys(reader)
    taken, seconds = _features(listing, reader, size)
    started = time.monotonic()
    near_copies.find(taken, photos=reader.photos, progress=Progress(), greys=greys)
    return Looked(taken=taken, read=seconds, compared=(time.monotonic() - started) / len(taken.bytes))


def _features(listing: Listing, reader: Reader, size: int) -> tuple[FirstPass, float]:
    """Those images of `listing` that can be read, with their features, and the seconds that one of them takes.

    Args: size, of a batch. Raises: DataError if none can be read.
    """
    extractor, rows = reader.extractor, np.arange(len(listing.labels))
    features = None
    if extractor:
        features = Features.empty(len(rows), extractor.model, views=extractor.first_views)

    def timed(some: np.ndarray) -> tuple[np.ndarray, float]:
        started, found = time.monotonic(), [np.empty(0, np.int64)]

        def inputs() -> Iterator[tuple[Tensor, np.ndarray]]:
            for batch in reader.batches(listing.paths, eval_batches(some, size)):
                found.append(batch.rows)
                if len(batch.rows) and features:
                    yield normalise(to_device(batch.pixels, reader.device), reader.preprocessing), batch.rows

        if extractor and features:
            extractor.fill(features, inputs(), fitted=np.ones(len(rows), bool))
        else:
            list(inputs())
        return np.sort(np.concatenate(found)), (time.monotonic() - started) / max(len(some), 1)

    (first, slow), (later, seconds) = timed(rows[:size]), timed(rows[size:])
    good = np.concatenate([first, later])
    if not len(good):
        raise DataError("none of the images that were looked at can be read")
    taken = FirstPass(
        listing=listing.subset(good),
        features=features and features.subset(good),
        bytes=[0] * len(good),
        sha256=[str(row) for row in good],
        quarantine=[],
    )
    return taken, seconds if len(later) else slow
