"""The first pass: every image is decoded once, the unreadable are set aside, the frozen features computed."""

import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transferkit import ranks
from transferkit.data import batches, copies, depth
from transferkit.data.batches import Batch
from transferkit.data.copies import Pair
from transferkit.data.decode import Decoded, eval_view
from transferkit.data.listing import Listing, PathTable
from transferkit.data.photos import Photos
from transferkit.data.worker_pool import WorkerPool
from transferkit.model.build import Preprocessing
from transferkit.model.eval_batch import EVAL_BATCH, batch_of
from transferkit.model.features import Extractor, Features
from transferkit.progress import Progress
from transferkit.train.keeping import Keeping
from transferkit.train.loop import eval_batches, to_device
from transferkit.zoo.errors import DataError

UNSEEN = np.empty((0, 0, 3), np.uint8)  # the view of an image that is only read to know that it can be


@dataclass(frozen=True, kw_only=True)
class FirstPass:
    """The readable images, their files' sizes and hashes, the features if asked for, and what was refused and why."""

    listing: Listing
    features: Features | None
    bytes: list[int]
    sha256: list[str]
    quarantine: list[tuple[str, str]]  # path relative to the data, reason
    pairs: tuple[Pair, ...] = ()  # near copies and bursts

    @functools.cached_property
    def contents(self) -> np.ndarray:
        """A number for each image, the same for copies of one file; shape (N,)."""
        return copies.contents(self.sha256)

    @functools.cached_property
    def groups(self) -> np.ndarray | None:
        """Names of images that belong together, as copies and bursts do; shape (N,), "" for none."""
        return copies.together(self.listing.groups, copies.families(self.contents, self.pairs))

    @functools.cached_property
    def families(self) -> np.ndarray:
        """A number for each image, the same for copies and near copies; shape (N,)."""
        return copies.families(self.contents, [pair for pair in self.pairs if pair.kind == copies.NEAR_COPY])


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How images are read: decoded by `photos`, prepared for the network, put on `device`.

    The processes of `pool` read them, if there are any; `extractor` computes features, where they are wanted; `look` is
    called with the path of each image that this process decodes, by its threads.
    """

    photos: Photos
    preprocessing: Preprocessing
    device: str
    extractor: Extractor | None
    pool: WorkerPool | None = None
    look: Callable[[Path, Decoded], None] | None = None

    def batches(self, paths: PathTable, rows: list[np.ndarray]) -> Iterator[Batch]:
        """The images of `rows` as they are evaluated; without an extractor only to know that they can be read."""
        if self.pool:
            return self.pool.batches(paths, rows, epoch=None, is_seen=self.extractor is not None)

        def view(image: Decoded, row: int) -> np.ndarray:
            if self.look:
                self.look(paths[row], image)
            return eval_view(image, self.preprocessing) if self.extractor else UNSEEN

        return batches.batches(paths, rows, view, photos=self.photos)


@dataclass(frozen=True, kw_only=True)
class _Table:
    """What is known of each image so far. Shapes: sizes (N,), 0 where it was not read; hashes (N,)."""

    sizes: np.ndarray
    hashes: np.ndarray
    features: Features | None

    @property
    def columns(self) -> list[np.ndarray]:
        return [self.sizes, self.hashes, *(self.features.views if self.features else ())]


def read_images(listing: Listing, reader: Reader, *, progress: Progress) -> FirstPass:
    """Read every image; an extractor also gets it, and the mirror image of all but test where it wants these.

    What is kept from an earlier run is not read again. Each rank reads a part: batches of the same rows as one process
    has, hence features of the same bits.

    Raises: DataError if a class has no readable image left, or the ranks do not see the same images.
    """
    _check_same(listing)
    fitted = listing.parts != "test"
    table = _recalled(listing, reader, fitted)
    left = np.argsort(~fitted, kind="stable")  # the two kinds in batches of their own
    left = left[table.sizes[left] == 0]
    if len(left) < len(fitted):
        progress.say(f"features of {len(fitted) - len(left):,} images are kept from earlier runs")
    quarantine, keeping = list(listing.refused), None
    if reader.extractor and table.features:
        hashes = table.hashes
        keeping = Keeping(reader.extractor, reader.photos, table.features, hashes=hashes, fitted=fitted)
    if len(left):
        progress.start("reading, features" if reader.extractor else "reading", len(left))
        quarantine += _read(listing, reader, table, left, told=(keeping, progress))
        progress.finish()
    good = np.flatnonzero(table.sizes)
    is_dim = _say_dim(listing, table, reader.photos, progress)
    if reader.extractor:
        reader.extractor.agree()
    pieces = [path for own in ranks.gather(keeping.pieces if keeping else []) for path in own]
    if keeping and ranks.is_first():
        keeping.merge(left[(table.sizes[left] > 0) & ~is_dim[left]], pieces)
    _check_classes(listing, good, quarantine)
    return FirstPass(
        listing=listing.subset(good),
        features=table.features and table.features.subset(good),
        bytes=table.sizes[good].tolist(),
        sha256=table.hashes[good].tolist(),
        quarantine=quarantine,
    )


def missing(listing: Listing, reader: Reader) -> np.ndarray:
    """Which images the first pass has to read, as nothing is kept of them; shape (N,) bool."""
    return _recalled(listing, reader, listing.parts != "test").sizes == 0


def _recalled(listing: Listing, reader: Reader, fitted: np.ndarray) -> _Table:
    """What earlier runs have kept of files that have not changed since; without an extractor nothing is known."""
    count, extractor = len(fitted), reader.extractor
    table = _Table(
        sizes=np.zeros(count, np.int64),
        hashes=np.full(count, "", "<U64"),
        features=extractor and Features.empty(count, extractor.model, views=extractor.first_views),
    )
    if extractor and table.features and extractor.remembers and ranks.is_first():
        contents = reader.photos.contents(listing.paths)
        hashes = np.array([content.sha256 if content else "" for content in contents], "<U64")
        sizes = np.array([content.bytes if content else 0 for content in contents], np.int64)
        is_known = extractor.recall(table.features, hashes, fitted=fitted)
        table.hashes[is_known] = hashes[is_known]
        table.sizes[is_known] = sizes[is_known]
    for column in table.columns:
        ranks.fill(column, [slice(0, count), *[slice(0, 0)] * (ranks.size() - 1)])
    return table


def _read(
    listing: Listing, reader: Reader, table: _Table, rows: np.ndarray, *, told: tuple[Keeping | None, Progress]
) -> list[tuple[str, str]]:
    """Complete `table` for `rows`; what cannot be read, and why.

    Args: told, who hears of each batch; the features are kept while they are computed.
    """
    keeping, progress = told
    size = ranks.from_first(batch_of(reader.extractor.model) if reader.extractor else EVAL_BATCH)  # GPUs may differ
    blocks = ranks.blocks(len(rows), of=size)
    own, faults = rows[blocks[ranks.rank()]], []

    def read() -> Iterator[Batch]:
        for batch in reader.batches(listing.paths, eval_batches(own, size)):
            table.sizes[batch.rows], table.hashes[batch.rows] = batch.bytes, batch.sha256
            faults.extend((listing.relative(row), reason) for row, reason in batch.faults)
            if len(batch.rows):
                yield batch
                if keeping:
                    keeping.computed(batch.rows)
            progress.advance(ranks.size() * (len(batch.rows) + len(batch.faults)))  # the others are as far

    if reader.extractor and table.features:
        inputs = (
            (batches.normalise(to_device(batch.pixels, reader.device), reader.preprocessing), batch.rows)
            for batch in read()
        )
        try:
            reader.extractor.fill(table.features, inputs, fitted=listing.parts != "test")
        except BaseException as error:  # stopped, or out of memory
            try:
                if keeping:
                    keeping.keep()
            except Exception as second:
                raise error from second
            raise
    else:
        for _ in read():
            pass
    progress.advance(len(rows) - ranks.size() * len(own))  # parts differ by a batch
    for column in table.columns if ranks.size() > 1 else ():
        part = column[rows]
        ranks.fill(part, blocks)
        column[rows] = part
    return [tuple(entry) for entries in ranks.gather(faults) for entry in entries]


def _say_dim(listing: Listing, table: _Table, photos: Photos, progress: Progress) -> np.ndarray:
    """Which rows are of a part whose files of more than 8 bits are nearly black, which is said; shape (N,)."""
    largest = dict(entry for entries in ranks.gather(sorted(photos.largest.items())) for entry in entries)
    found = np.zeros(len(table.hashes), bool)
    if not largest:
        return found
    for part in np.unique(listing.parts):
        rows = np.flatnonzero((listing.parts == part) & (table.sizes > 0))
        values = [largest[digest] for digest in table.hashes[rows] if digest in largest]
        if words := depth.dim_words(values, of=len(rows), what=f"{part} images".strip()):
            progress.say(words)
            found[rows] = True
    return found


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
    counts = listing.task.counts(listing.labels[trainable], len(listing.classes))
    for name, count in zip(listing.classes, counts):
        if count == 0:
            first = "; ".join(f"{path}: {reason}" for path, reason in quarantine[:1])
            raise DataError(f"class {name!r} has no readable image to train on ({first})")
