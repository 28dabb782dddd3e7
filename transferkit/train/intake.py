"""The first pass: every image is decoded once, the unreadable are set aside, the frozen features computed."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from transferkit import ranks
from transferkit.data import batches
from transferkit.data.decode import eval_view
from transferkit.data.folder import Listing
from transferkit.model import features
from transferkit.model.build import Backbone
from transferkit.model.features import Features
from transferkit.progress import Progress
from transferkit.train.loop import EVAL_BATCH, eval_batches
from transferkit.train.supply import to_device
from transferkit.zoo.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Intake:
    """The readable images, their files' sizes and hashes, the features if asked for, and what was refused and why."""

    listing: Listing
    features: Features | None
    bytes: list[int]
    sha256: list[str]
    quarantine: list[tuple[str, str]]  # path relative to the data, reason


def read_images(
    listing: Listing, model: Backbone, *, with_features: bool, workers: int, device: str, progress: Progress
) -> Intake:
    """Decode every image; `with_features` also sends it, and the mirror image of all but test, through `model`.

    Each rank does a part: batches of the same rows as one process has, hence features of the same bits.

    Raises: DataError if a class has no readable image left, or the ranks do not see the same images.
    """
    count = len(listing.labels)
    _check_same(listing)
    blocks = ranks.blocks(count, of=EVAL_BATCH)
    own = blocks[ranks.rank()]
    sizes, hashes, quarantine = np.zeros(count, np.int64), np.full(count, "", "<U64"), []
    preprocessing = model.card.preprocessing
    rows = eval_batches(np.arange(own.start, own.stop))
    progress.start("reading" if not with_features else "reading, features", count)

    def inputs() -> Iterator[tuple[Tensor, np.ndarray]]:
        for batch in batches.batches(
            listing.paths, rows, lambda image, row: eval_view(image, preprocessing), workers=workers
        ):
            sizes[batch.rows], hashes[batch.rows] = batch.bytes, batch.sha256
            quarantine.extend((listing.relative(row), reason) for row, reason in batch.faults)
            if len(batch.rows):
                yield batches.normalise(to_device(batch.pixels, device), preprocessing), batch.rows
            progress.advance(ranks.size() * (len(batch.rows) + len(batch.faults)))  # the others are as far

    if with_features:
        found = features.extract(model, inputs(), count=count, mirror=listing.parts != "test")
    else:
        found = None
        for _ in inputs():
            pass
    progress.advance(count - ranks.size() * (own.stop - own.start))  # parts differ by a batch
    for array in (sizes, hashes, *((found.plain, found.mirrored) if found else ())):
        ranks.fill(array, blocks)
    quarantine = [tuple(entry) for entries in ranks.gather(quarantine) for entry in entries]
    progress.finish()
    good = np.flatnonzero(sizes)
    _check_classes(listing, good, quarantine)
    return Intake(
        listing=listing.subset(good),
        features=found and found.subset(good),
        bytes=sizes[good].tolist(),
        sha256=hashes[good].tolist(),
        quarantine=quarantine,
    )


def _check_same(listing: Listing) -> None:
    """Refuse data of which a rank sees other images than the first."""
    if ranks.size() == 1:
        return
    names = "\n".join(listing.paths[row].name for row in range(len(listing.labels)))
    digest = hashlib.sha256(os.fsencode(names) + listing.labels.tobytes() + listing.parts.tobytes()).hexdigest()
    digests = ranks.gather(digest)
    others = [number for number, found in enumerate(digests) if found != digests[0]]
    if others:
        raise DataError(f"process {others[0]} does not see the same images as process 0 in {listing.source}")


def _check_classes(listing: Listing, good: np.ndarray, quarantine: list[tuple[str, str]]) -> None:
    """Refuse data in which a class has nothing to train on."""
    trainable = good[np.isin(listing.parts[good], ("", "train"))]
    counts = np.bincount(listing.labels[trainable], minlength=len(listing.classes))
    for name, count in zip(listing.classes, counts):
        if count == 0:
            first = "; ".join(f"{path}: {reason}" for path, reason in quarantine[:1])
            raise DataError(f"class {name!r} has no readable image to train on ({first})")
