"""Who validates, where each image has one class: stratified, groups undivided, a function of the seed alone."""

import numpy as np

from transferkit import seeds

MOST_FOLDS = 4  # of the training images, beside the validation part: then each fit sees four fifths of all


def stratified(labels: np.ndarray, fraction: float, *, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Which images validate: of each class `fraction`, rounded, but at least one in each part where the class has two.

    Images of one group stay together (an empty name is no group), so that a class may miss its share by about half a
    group. A class whose images form one group cannot be in both parts and trains.

    Shapes: labels (N,) int64, groups (N,) str -> (N,) bool, True = validation.
    """
    rng = seeds.generator(seed, "split")
    sizes = np.bincount(labels)
    wanted = np.clip(np.floor(sizes * fraction + 0.5), 1, np.maximum(sizes - 1, 1)) * (sizes >= 2)
    is_validation = np.zeros(len(labels), bool)
    together, alone = units(labels, groups)

    taken = np.zeros(len(sizes), np.int64)
    share = fraction * (sizes - np.bincount(labels[alone], minlength=len(sizes)))
    for rows in shuffled(together, rng):
        counts = np.bincount(labels[rows], minlength=len(sizes))
        error_change = counts * (counts + 2 * (taken - share))  # of the squared distance to the share
        if error_change.sum() < 0 and _leaves_some(sizes - taken, counts):
            is_validation[rows] = True
            taken += counts

    for label in np.unique(labels[alone]):
        members = rng.permutation(alone[labels[alone] == label])
        chosen = members[: max(0, int(wanted[label]) - taken[label])]
        is_validation[chosen] = True
        taken[label] += len(chosen)

    for label in np.flatnonzero((taken == 0) & (sizes >= 2)):
        for rows in sorted(together, key=len):
            counts = np.bincount(labels[rows], minlength=len(sizes))
            if counts[label] and not is_validation[rows[0]] and _leaves_some(sizes - taken, counts):
                is_validation[rows] = True
                taken += counts
                break
    return is_validation


def folds(labels: np.ndarray, count: int, *, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """The fold of each image: every class is spread over the `count` folds as evenly as its groups allow.

    Without groups, the folds of a class, and of all images, differ by one image at most.

    Shapes: labels (N,) int64, groups (N,) str -> (N,) int64 in 0 .. count - 1.
    """
    rng = seeds.generator(seed, "folds")
    fold = np.empty(len(labels), np.int64)
    together, alone = units(labels, groups)
    members = np.zeros((count, int(labels.max(initial=-1)) + 1), np.int64)  # (folds, K)
    for rows in sorted(shuffled(together, rng), key=len, reverse=True):
        present = np.unique(labels[rows])
        emptiest = np.lexsort((members.sum(1), members[:, present].sum(1)))[0]
        fold[rows] = emptiest
        members[emptiest] += np.bincount(labels[rows], minlength=members.shape[1])

    mixed = rng.permutation(alone)
    by_class = mixed[np.argsort(labels[mixed], kind="stable")]
    if not together:
        fold[by_class] = np.arange(len(by_class)) % count
        return fold
    for row in by_class:
        emptiest = np.lexsort((members.sum(1), members[:, labels[row]]))[0]
        fold[row] = emptiest
        members[emptiest, labels[row]] += 1
    return fold


def fold_count(train: int, val: int) -> int:
    """In how many parts so many training images make each as large as the validation part: 2 to `MOST_FOLDS`.

    >>> fold_count(80, 20), fold_count(50, 50), fold_count(90, 10)
    (4, 2, 4)
    """
    return min(max(round(train / val), 2), MOST_FOLDS)


def units(labels: np.ndarray, groups: np.ndarray | None) -> tuple[list[np.ndarray], np.ndarray]:
    """The rows of every group of two or more, and the rows that stand alone."""
    everyone = np.arange(len(labels))
    if groups is None:
        return [], everyone
    names, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(group_of, kind="stable")
    parts = np.split(order, np.cumsum(sizes)[:-1])
    together = [rows for name, rows in zip(names, parts) if name and len(rows) > 1]
    is_alone = np.ones(len(labels), bool)
    for rows in together:
        is_alone[rows] = False
    return together, everyone[is_alone]


def shuffled(rows: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """The same units in another order."""
    return [rows[i] for i in rng.permutation(len(rows))]


def _leaves_some(left: np.ndarray, counts: np.ndarray) -> bool:
    """Whether every class of a group keeps an image for training when the group is taken away."""
    return bool((left > counts)[counts > 0].all())
