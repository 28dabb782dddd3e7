"""Who validates, where an image has any number of labels: each label spread by its rarity, groups undivided.

Source: iterative stratification, Sechidis et al. 2011, https://doi.org/10.1007/978-3-642-23808-6_10
"""

import numpy as np

from transferkit import seeds
from transferkit.tasks.split import shuffled, units


def stratified(labels: np.ndarray, fraction: float, *, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Which images validate: of each class `fraction`, rounded, but at least one in each part where the class has two.

    Images of one group stay together (an empty name is no group), so that a class may miss its share. No class is left
    without an image to train on; one whose images lie in few groups may be without one that validates.

    Shapes: labels (N, K) bool, groups (N,) str -> (N,) bool, True = validation.
    """
    rng = seeds.generator(seed, "split")
    rows, counts = _units(labels, groups, rng)
    sizes = counts.sum(0)  # (K + 2,)
    wanted = np.clip(np.floor(sizes * fraction + 0.5), 1, np.maximum(sizes - 1, 1)) * (sizes >= 2)
    part = _spread(counts, np.stack([sizes - wanted, wanted]))
    _repair(part, counts[:, : labels.shape[1]])
    is_validation = np.zeros(len(labels), bool)
    for unit in np.flatnonzero(part == 1):
        is_validation[rows[unit]] = True
    return is_validation


def folds(labels: np.ndarray, count: int, *, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """The fold of each image: every class is spread over the `count` folds as evenly as sets and groups allow.

    Shapes: labels (N, K) bool, groups (N,) str -> (N,) int64 in 0 .. count - 1.
    """
    rows, counts = _units(labels, groups, seeds.generator(seed, "folds"))
    part = _spread(counts, np.repeat(counts.sum(0)[None] / count, count, axis=0))
    fold = np.empty(len(labels), np.int64)
    for unit, where in enumerate(part):
        fold[rows[unit]] = where
    return fold


def _units(
    labels: np.ndarray, groups: np.ndarray | None, rng: np.random.Generator
) -> tuple[list[np.ndarray], np.ndarray]:
    """The rows of each unit that is not divided, groups first, and how many of each class, none and any it has.

    Shapes: counts (U, K + 2).
    """
    together, alone = units(labels, groups)
    rows = [*sorted(shuffled(together, rng), key=len, reverse=True), *rng.permutation(alone)[:, None]]
    wide = np.column_stack([labels, ~labels.any(1), np.ones(len(labels), bool)]).astype(np.int64)
    return rows, np.array([wide[unit].sum(0) for unit in rows]).reshape(len(rows), wide.shape[1])


def _spread(counts: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The part of each unit: the rarest class left goes first, each unit to the part that still wants it most.

    Shapes: counts (U, K + 2), the last column all images; wanted (P, K + 2) -> (U,).
    """
    part, wanted = np.full(len(counts), -1), wanted.astype(np.float64)
    left = counts[:, :-1].sum(0)
    while left.any():
        rarest = int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
        for unit in np.flatnonzero((part < 0) & (counts[:, rarest] > 0)):
            part[unit] = np.lexsort((-wanted[:, -1], -wanted[:, rarest]))[0]
            wanted[part[unit]] -= counts[unit]
            left -= counts[unit, :-1]
    return part


def _repair(part: np.ndarray, counts: np.ndarray) -> None:
    """Move a unit where a class is not in training, then where one is not in validation and may be.

    Shapes: part (U,) of 0, which trains, and 1; counts (U, K).
    """
    for k in np.flatnonzero((counts[part == 0].sum(0) == 0) & (counts.sum(0) > 0)):
        if not counts[part == 0, k].any():
            units_with = np.flatnonzero(counts[:, k])
            part[units_with[np.argmin(counts[units_with].sum(1))]] = 0
    for k in np.flatnonzero((counts[part == 1].sum(0) == 0) & (counts.sum(0) > 1)):
        training = counts[part == 0].sum(0)
        for unit in np.flatnonzero((part == 0) & (counts[:, k] > 0)):
            if (training > counts[unit])[counts[unit] > 0].all() and not counts[part == 1, k].any():
                part[unit] = 1
                break
