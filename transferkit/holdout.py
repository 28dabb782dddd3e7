"""A test part of data that has none, chosen before anything else looks at the images."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from transferkit import caches, runtime, seeds
from transferkit.audit import near_copies
from transferkit.config import FinetuneConfig
from transferkit.data.known import Known
from transferkit.data.listing import Listing
from transferkit.data.photos import SMALLEST_SIDE_PX, Decoding, Photos
from transferkit.data.source import DecodeError, read_file
from transferkit.data.store import Store
from transferkit.kinds import present
from transferkit.progress import Progress
from transferkit.train.first_pass import FirstPass
from transferkit.zoo.errors import UsageError


def set_aside(config: FinetuneConfig, listing: Listing, progress: Progress) -> Listing:
    """The listing with `--test-fraction` of each class in a test part, copies, near copies, bursts and groups whole.

    Raises: UsageError if there is a test part, or nothing to set aside.
    """
    if (listing.parts == "test").any():
        raise UsageError(f"--test-fraction sets a test part aside, and {listing.source} has one; drop the option")
    cache, decoding = caches.folder_of(config), Decoding(SMALLEST_SIDE_PX, config.bit_depth)
    photos = Photos(
        decoding,
        workers=runtime.default_workers("cpu") if config.workers is None else config.workers,
        store=Store(cache, side=decoding.side_px, bit_depth=decoding.bit_depth, progress=progress),
        index=Known(cache / "known" / "files.sqlite"),
    )
    known = photos.contents(listing.paths)
    sha256 = [content.sha256 if content else _sha256(path) for content, path in zip(known, listing.paths)]
    taken = FirstPass(listing=listing, features=None, bytes=[], sha256=sha256, quarantine=[])
    taken = replace(taken, pairs=tuple(near_copies.find(taken, photos=photos, progress=progress, cache=cache)))
    photos.remember()
    parts, groups = listing.parts.copy(), taken.groups
    rows = np.flatnonzero(np.isin(parts, ("", "train")))
    is_test = listing.task.stratified(
        listing.labels[rows],
        present(config.test_fraction),
        seed=seeds.integer(config.seed, "test part"),
        groups=None if groups is None else groups[rows],
    )
    if not is_test.any():
        raise UsageError(f"--test-fraction {config.test_fraction} sets nothing aside: there is nothing to divide")
    parts[rows[is_test]] = "test"
    progress.say(f"{int(is_test.sum()):,} of {len(rows):,} images are set aside to test")
    return replace(listing, parts=parts)


def _sha256(path: Path) -> str:
    """The hash of a file; of one that cannot be read, of its path: the first pass will set it aside."""
    try:
        return hashlib.sha256(read_file(path)).hexdigest()
    except DecodeError:
        return hashlib.sha256(str(path).encode(errors="surrogateescape")).hexdigest()
