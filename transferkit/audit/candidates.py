"""Which pairs of photos may be copies: those with corners that look the same, and those alike as a whole."""

from collections.abc import Sequence

import numpy as np

from transferkit import seeds
from transferkit.audit.prints import Print

TABLES = 24
LARGEST_BUCKET = 16  # corners of one hash: more are of a pattern that many photos have
LEAST_VOTES = 4  # of a pair of photos
BY_CORNERS = 2, 8  # pairs of a photo, at least: among many photos, and among few
FEW = 1000  # pairs in all
BY_LOOK = 2
LEAST_LOOK = 0.9  # correlation of whole photos
LOOK_PX = 16
ROWS = 1024  # of a block


def of(prints: Sequence[Print]) -> np.ndarray:
    """The pairs to compare, each (row, twin, whether the twin is mirrored); shape (P, 3) int64, row < twin, sorted.

    Neither time nor memory grow with the square of the number of photos, but for products of `LOOK_PX`² numbers each.
    """
    found = np.concatenate([_by_corners(prints), _by_look(looks(prints))])
    return np.unique(found, axis=0)


def _by_corners(prints: Sequence[Print]) -> np.ndarray:
    """Pairs that share the most corners by locality-sensitive hashing of their descriptors.

    Source: Ke, Sukthankar and Huston 2004, https://doi.org/10.1145/1027527.1027729; hashes of single bits, Indyk and
    Motwani 1998, https://doi.org/10.1145/276698.276876
    """
    kinds = [(row, mirrored, each.corners[mirrored]) for mirrored in (0, 1) for row, each in enumerate(prints)]
    counts = [len(corners.descriptors) for *_, corners in kinds]
    owner = np.repeat([row for row, *_ in kinds], counts).astype(np.int64)
    is_mirrored = np.repeat([mirrored for _, mirrored, _ in kinds], counts).astype(np.int64)
    descriptors = np.concatenate([corners.descriptors for *_, corners in kinds])  # (D, 32)
    width = int(np.ceil(np.log2(max(len(descriptors), 2)))) + 2
    rng = seeds.generator(0, "near copies")
    codes, votes = np.empty(0, np.int64), np.empty(0, np.int64)
    for _ in range(TABLES):
        first, second = _same_hash(_hashes(descriptors, rng.choice(descriptors.shape[1] * 8, width, replace=False)))
        is_pair = (owner[first] != owner[second]) & (is_mirrored[first] + is_mirrored[second] < 2)
        first, second = first[is_pair], second[is_pair]
        row, twin = np.minimum(owner[first], owner[second]), np.maximum(owner[first], owner[second])
        mirrored = is_mirrored[first] | is_mirrored[second]
        more, count = np.unique((row * len(prints) + twin) * 2 + mirrored, return_counts=True)
        codes, votes = _added(np.concatenate([codes, more]), np.concatenate([votes, count]))
    is_likely = votes >= LEAST_VOTES
    codes, votes = codes[is_likely], votes[is_likely]
    pairs = np.stack([codes // 2 // len(prints), codes // 2 % len(prints), codes % 2], 1)
    return pairs[_best_of_each(pairs, votes, count=int(np.clip(FEW // max(len(prints), 1), *BY_CORNERS)))]


def _hashes(descriptors: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """The number that so many bits of each descriptor make; shape (D,) int64."""
    found = np.zeros(len(descriptors), np.int64)
    for bit in bits:
        found = found << 1 | (descriptors[:, bit // 8] >> (bit % 8) & 1)
    return found


def _same_hash(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of places with the same hash, where few have it."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)])
    lengths = np.diff(np.concatenate([starts, [len(ordered)]]))
    bucket = np.repeat(np.arange(len(starts)), lengths)
    is_shared = np.repeat((lengths > 1) & (lengths <= LARGEST_BUCKET), lengths)
    order, bucket = order[is_shared], bucket[is_shared]
    first, second = [order[:0]], [order[:0]]
    for lag in range(1, LARGEST_BUCKET):
        is_same = bucket[lag:] == bucket[:-lag]
        if not is_same.any():
            break
        first.append(order[:-lag][is_same])
        second.append(order[lag:][is_same])
    return np.concatenate(first), np.concatenate(second)


def _added(codes: np.ndarray, votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each code once, with the sum of its votes."""
    unique, place = np.unique(codes, return_inverse=True)
    return unique, np.bincount(place, weights=votes, minlength=len(unique)).astype(np.int64)


def _best_of_each(pairs: np.ndarray, votes: np.ndarray, *, count: int) -> np.ndarray:
    """The places of the pairs that are among the `count` with most votes of either of their photos."""
    places = np.tile(np.arange(len(pairs)), 2)
    photo = np.concatenate([pairs[:, 0], pairs[:, 1]])
    order = np.lexsort((places, -votes[places], photo))
    photo, places = photo[order], places[order]
    first = np.searchsorted(photo, photo)
    return np.unique(places[np.arange(len(photo)) - first < count])


def looks(prints: Sequence[Print]) -> np.ndarray:
    """Each photo whole, in few pixels of mean 0 and norm 1, or all 0 where it is of one colour; shape (N, L, L)."""
    import cv2

    size = (LOOK_PX, LOOK_PX)
    small = [cv2.resize(each.grey, size, interpolation=cv2.INTER_AREA) for each in prints]
    flat = np.array(small, np.float32).reshape(len(prints), -1)
    flat -= flat.mean(1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(norm > LOOK_PX, flat / np.maximum(norm, 1), 0).reshape(-1, *size)


def nearest(looks: np.ndarray, rows: np.ndarray, *, mirrored: int, ranks: range) -> tuple[np.ndarray, np.ndarray]:
    """The photos in those `ranks` of correlation with each of `rows`, itself left out, 0 the nearest; correlations too.

    Shapes: (B, len(ranks)) each.
    """
    others = looks[:, :, ::-1] if mirrored else looks
    alike = looks[rows].reshape(len(rows), -1) @ others.reshape(len(looks), -1).T  # (B, N)
    alike[np.arange(len(rows)), rows] = -2
    top = np.argpartition(-alike, ranks.stop - 1, axis=1)[:, : ranks.stop]
    top = np.take_along_axis(top, np.argsort(-np.take_along_axis(alike, top, 1), axis=1, kind="stable"), 1)
    top = top[:, ranks.start :]
    return top, np.take_along_axis(alike, top, 1)


def _by_look(looks: np.ndarray) -> np.ndarray:
    count = min(BY_LOOK, len(looks) - 1)
    found = [np.empty((0, 3), np.int64)]
    for mirrored in (0, 1):
        for start in range(0, len(looks) if count > 0 else 0, ROWS):
            rows = np.arange(start, min(start + ROWS, len(looks)))
            near, alike = nearest(looks, rows, mirrored=mirrored, ranks=range(count))
            row, place = np.nonzero(alike >= LEAST_LOOK)
            pairs = np.stack([rows[row], near[row, place]], 1)
            pairs.sort(axis=1)
            found.append(np.insert(pairs, 2, mirrored, axis=1))
    return np.concatenate(found)
