"""Photos that are near copies of each other or of one burst: what we divide keeps them in one part.

The answer is kept in the cache, by the files' contents and names.
"""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np

from transferkit import ranks, seeds
from transferkit.audit import bursts, candidates, prints
from transferkit.audit.prints import Print
from transferkit.audit.registration import likeness
from transferkit.data import copies, remote, store
from transferkit.data.copies import BURST, NEAR_COPY, Pair
from transferkit.data.decode import Decoded
from transferkit.data.listing import Listing
from transferkit.data.photos import Photos
from transferkit.data.source import Member
from transferkit.progress import Progress
from transferkit.train import first_pass
from transferkit.train.first_pass import FirstPass, Reader
from transferkit.zoo import cache_folder
from transferkit.zoo.disk_cache import DiskCache

RULE = 1  # to be raised with every change of this room that finds other pairs
MOST = 20_000  # photos; 25 KB of memory each
LEAST_LIKENESS = 0.84  # of near copies
NEARER = 5  # so many times less than the photos of other things differ
STRANGERS = 60  # photos that say how alike those are
LEAST_STRANGERS = 6
UNKNOWN = 0.7  # where there are fewer photos
STRANGER_RANKS = range(10, 14)  # of correlation: nearer ones may be copies
LARGEST_SHARE = 10  # a tenth of the photos is no set of copies
LARGEST_SET = 12  # nor fewer, if there are more than these
TOGETHER = 2048  # pairs compared before a stop is heard

Compared = tuple[int, int, int]  # row, twin, whether the twin is mirrored


def read_images(listing: Listing, reader: Reader, *, progress: Progress, cache: Path | None) -> FirstPass:
    """What the first pass takes in, with the near copies and bursts among it; a photo is decoded once for both.

    Args and raises: as `first_pass.read_images` and `find`.
    """
    reader, greys = with_greys(reader)
    taken = first_pass.read_images(listing, reader, progress=progress)
    return replace(taken, pairs=tuple(find(taken, photos=reader.photos, progress=progress, cache=cache, greys=greys)))


def with_greys(reader: Reader) -> tuple[Reader, dict[Path, np.ndarray]]:
    """The same, which leaves each photo that it decodes in small, and where: a photo is decoded once for both."""
    greys: dict[Path, np.ndarray] = {}

    def look(path: Path, image: Decoded) -> None:
        if len(greys) < MOST:
            greys[path] = prints.grey_of(image)

    return replace(reader, look=look), greys


def find(
    taken: FirstPass,
    *,
    photos: Photos,
    progress: Progress,
    cache: Path | None = None,
    greys: Mapping[Path, np.ndarray] = {},
) -> list[Pair]:
    """The near copies and bursts among the readable images of all parts, sorted; one row of each file's content.

    They follow from pixels, names and EXIF data alone, not from the network, so runs with other backbones divide alike.
    Whatever goes wrong is said, and then there are none.

    Args: cache, the folder in which the answer is kept; greys, photos in small that are at hand.
    """
    found = _kept(taken, photos, greys, progress, cache) if ranks.is_first() else None
    return [Pair(*pair) for pair in ranks.from_first(found)]


def _kept(
    taken: FirstPass, photos: Photos, greys: Mapping[Path, np.ndarray], progress: Progress, cache: Path | None
) -> list[tuple[int, int, str]]:
    rows = np.unique(taken.contents, return_index=True)[1]
    rows.sort()
    members = [Member.of(taken.listing.paths[row]) for row in rows]
    if any(member and remote.is_remote(member.shard) for member in members):
        progress.say("near copies are not looked for behind URLs, as all photos would be fetched twice")
        return []
    if len(rows) > MOST:
        progress.say(f"near copies are looked for among {MOST:,} of {len(rows):,} photos, as memory has room for")
        rows = np.sort(rows[np.argsort(np.array(taken.sha256)[rows], kind="stable")[:MOST]])
    key = _key(taken, rows, photos)
    kept = cache and DiskCache(cache, "copies")
    path = kept and kept.folder / f"{key}.json"
    if kept and path and (held := kept.read(path, cache_folder.read)):
        pairs, lines = held["pairs"], held["lines"]
        kept.use(path)
    else:
        try:
            found, lines = _found(taken, rows, photos, greys, progress)
        except ImportError as error:
            progress.say(f"near copies are not looked for without OpenCV ({error}): pip install opencv-python-headless")
            return []
        except Exception as error:  # a run does without
            progress.say(f"near copies were not looked for: {type(error).__name__} {error}")
            return []
        pairs = [astuple(pair) for pair in found]
        if kept and path:
            kept.write(path, cache_folder.write, {"pairs": pairs, "lines": lines})
    for line in lines:
        progress.say(line)
    return [(row, twin, kind) for row, twin, kind in pairs]


def _key(taken: FirstPass, rows: np.ndarray, photos: Photos) -> str:
    names = [f"{row} {taken.sha256[row]} {taken.listing.relative(row)}" for row in rows]
    images = hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()
    return cache_folder.digest(
        {"rule": RULE, "images": images, "photos": repr(photos.decoding), "pixels": store.decode_rule()}
    )


def _found(
    taken: FirstPass, rows: np.ndarray, photos: Photos, greys: Mapping[Path, np.ndarray], progress: Progress
) -> tuple[list[Pair], list[str]]:
    """The pairs, and what to say of those that are left out."""
    import cv2  # noqa: F401 - if it is missing, before work is announced

    progress.start("looking for near copies", len(rows))
    read, made = [], []
    for row, each in zip(rows, prints.read([taken.listing.paths[row] for row in rows], photos, greys=greys)):
        progress.advance(1)
        if each is not None:
            read.append(row)
            made.append(each)
    if len(made) < 2:
        progress.finish()
        return [], []
    rows = np.array(read)
    alike = _Alike(made, workers=photos.workers, progress=progress)
    usual = _strangers(made, alike)
    near = alike.above([tuple(pair) for pair in candidates.of(made).tolist()], _least(LEAST_LIKENESS, NEARER, usual))
    of_series = bursts.candidates(taken.listing, rows)
    same_burst = set()
    for least, nearer, pairs in ((*bursts.BY_TIME, of_series.by_time), (*bursts.BY_NAME, of_series.by_name)):
        same_burst |= alike.above([(row, twin, 0) for row, twin in pairs], _least(least, nearer, usual))
    progress.finish()
    near, left_out = _sets(len(rows), near, set())
    series, also_left_out = _sets(len(rows), near, same_burst - near)
    lines = []
    if left_out or also_left_out:
        count = max(left_out, also_left_out)
        lines = [f"{count:,} photos are all alike, as of a camera that stands still: they count as photos of their own"]
    kinds = dict.fromkeys(series, BURST) | dict.fromkeys(near, NEAR_COPY)
    return [Pair(int(rows[row]), int(rows[twin]), kind) for (row, twin), kind in sorted(kinds.items())], lines


class _Alike:
    """Compares photos, as many at once as there are workers."""

    def __init__(self, made: Sequence[Print], *, workers: int, progress: Progress):
        self._made, self._workers, self._progress = made, max(1, workers), progress

    def of(self, pairs: Sequence[Compared]) -> list[float]:
        """How alike the photos of each pair are."""
        found: list[float] = []
        with ThreadPoolExecutor(self._workers) as threads:
            for start in range(0, len(pairs), TOGETHER):
                found += threads.map(self._one, pairs[start : start + TOGETHER])
                self._progress.advance(0)
        return found

    def above(self, pairs: Sequence[Compared], least: float) -> set[tuple[int, int]]:
        """The pairs that are at least so much alike."""
        return {(row, twin) for (row, twin, _), each in zip(pairs, self.of(pairs)) if each >= least}

    def _one(self, pair: Compared) -> float:
        row, twin, mirrored = pair
        return likeness(self._made[row], self._made[twin], mirrored=mirrored)


def _strangers(made: Sequence[Print], alike: _Alike) -> float:
    """How alike photos are that look alike and are no copies: a quarter of those asked are more so.

    Where few pixels say all, as of hand-written digits, that is much.
    """
    if len(made) < LEAST_STRANGERS:
        return UNKNOWN
    start = min(STRANGER_RANKS.start, len(made) // 3)
    ranks_ = range(start, min(start + len(STRANGER_RANKS), len(made) - 1))
    rows = np.sort(seeds.generator(0, "strangers").permutation(len(made))[:STRANGERS])
    near, _ = candidates.nearest(candidates.looks(made), rows, mirrored=0, ranks=ranks_)
    pairs = [(int(row), int(twin), 0) for row, some in zip(rows, near) for twin in some]
    found = np.array(alike.of(pairs)).reshape(near.shape)
    return float(np.percentile(found.max(1), 75))


def _least(floor: float, nearer: float, usual: float) -> float:
    """How alike two photos must be, where those that are no copies are as alike as `usual`."""
    return max(floor, 1 - (1 - usual) / nearer)


def _sets(count: int, base: set[tuple[int, int]], more: set[tuple[int, int]]) -> tuple[set[tuple[int, int]], int]:
    """Those of both pairs that make no set that is too large, and how many photos those sets have.

    Where `more` are given, they alone are left out. Otherwise all of such a set are.
    """
    numbers = copies.families(np.arange(count), [Pair(*pair, NEAR_COPY) for pair in base | more])
    sizes = np.bincount(numbers)[numbers]
    is_large = sizes > max(LARGEST_SET, count // LARGEST_SHARE)
    kept = {(row, twin) for row, twin in base | more if not is_large[row]}
    if more:
        kept |= base
    return kept, int(is_large.sum())
