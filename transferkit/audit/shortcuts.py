"""Whether the label can be told without looking at the photo: naive Bayes on one cue alone, cross-validated."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transferkit.audit.cues import Cues, Seen
from transferkit.data.listing import Listing

FOLDS = 5
MOST = 10_000  # images that are looked at
FEWEST = 10  # of a class, for a word on it
NAMES = 30  # values of a cue that have a column each; the others share none
BINS = 16  # of a column, with as many images each
SHARE = 0.01  # of the images, that have such a value at least
ONE_SIDED, TWO_SIDED = 2.58, 1.96  # standard errors: 99.5 % from below, since many are asked; 95 % on both sides
OF_MANY = 3.3  # standard errors of a pair of classes, of which there are many more
STRONG = 0.5  # of the way from guessing to knowing all classes
CERTAIN = 0.8  # of that way, for two of several classes
ONE_CLASS, ALL_CLASSES = 0.75, 1 / 3  # of the others a class is told from: one of them, or all in the mean


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """What a cue alone tells of the label.

    Fields: accuracy, balanced: the mean share of a class that is told right, and its 95 % interval; chance, one over
    the classes; is_strong, whether a network may learn the cue in place of what it is shown; pairs of classes that the
    cue tells apart with certainty, the surest first, where it does not tell all of them well.
    """

    cue: str
    accuracy: float
    interval: tuple[float, float]
    chance: float
    is_strong: bool
    pairs: tuple[tuple[str, str], ...]


def find(listing: Listing, cues: Cues, *, bytes: Sequence[int], groups: np.ndarray | None) -> list[Shortcut]:
    """What each cue that differs among the images comes to, the strongest first; none if there is one class.

    Shapes: bytes (N,) of the files, groups (N,) names of images that belong together.
    """
    good = np.flatnonzero([seen is not None for seen in cues.seen])
    labels = listing.labels[good]
    if len(np.unique(labels)) < 2:
        return []
    seen = [each for each in cues.seen if each is not None]
    names = [listing.relative(int(row)) for row in good]
    columns = _columns(seen, np.asarray(bytes, float)[good]) | {"file name": _name_columns(names, labels, listing)}
    folds = listing.task.folds(labels, FOLDS, seed=0, groups=None if groups is None else groups[good])
    if len(np.unique(folds)) < 2:  # all belong together
        return []
    if len(good) > MOST:
        some = np.random.default_rng(0).permutation(len(good))[:MOST]
        labels, folds, columns = labels[some], folds[some], {cue: x[some] for cue, x in columns.items()}
    varied = {cue: x for cue, x in columns.items() if x.shape[1] and (x != x[0]).any()}
    found = [_judged(cue, x, labels, folds, listing.classes) for cue, x in varied.items()]
    return sorted(found, key=lambda each: -each.accuracy)


def _columns(seen: Sequence[Seen], bytes: np.ndarray) -> dict[str, np.ndarray]:
    """The columns (n, d) of each cue."""
    width, height = (np.array([getattr(each, name) for each in seen], float) for name in ("width", "height"))
    taken = np.array([each.taken for each in seen])
    date = np.stack([np.nan_to_num(taken, nan=-1.0), np.nan_to_num(taken % 1, nan=-1.0)], 1)
    tables = np.array([each.encoding[1] for each in seen])
    detail = np.array([each.detail for each in seen])  # a photo of much detail has a large file, which is no shortcut
    return {
        "file size": np.log(bytes / (width * height) / detail)[:, None],
        "dimensions": np.log(np.stack([width, height, width / height, width * height], 1)),
        "file format": np.concatenate([tables[:, None], _named([[each.encoding[0]] for each in seen])], 1),
        "brightness": np.array([[each.brightness] for each in seen]),
        "border": np.array([each.border for each in seen]),
        "camera": _named([[each.camera] for each in seen]),
        "date": date,
    }


def _named(values: Sequence[Sequence[str]]) -> np.ndarray:
    """A column for each of the commonest names, 1 where an image has it; shape (n, d)."""
    counts = Counter(name for each in values for name in set(each))
    common = [name for name, count in counts.most_common(NAMES) if count >= SHARE * len(values)]
    return np.array([[name in each for name in common] for each in values], float).reshape(len(values), len(common))


def _name_columns(names: Sequence[str], labels: np.ndarray, listing: Listing) -> np.ndarray:
    """Words and number of the files' names, less the names of the classes; shape (n, d).

    Where the numbers begin anew in a class, they tell of nothing but how many images it has, and are left out.
    """
    stems = [Path(name).stem.casefold() for name in names]
    classes = {word for name in listing.classes for word in _words(name.casefold())}
    words = _named([[word for word in _words(stem) if word not in classes] for stem in stems])
    digits = [re.findall(r"\d+", stem)[-1:] for stem in stems]
    numbers = [float(found[0][:15]) if found else -1.0 for found in digits]
    series = {k: {n for n, label in zip(numbers, labels) if label == k} for k in np.unique(labels)}
    others = Counter(n for each in series.values() for n in each)
    if any(np.mean([others[n] > 1 for n in each]) > 0.5 for each in series.values()):
        return words
    return np.concatenate([words, np.array(numbers)[:, None]], 1)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text)


def _judged(cue: str, x: np.ndarray, labels: np.ndarray, folds: np.ndarray, classes: Sequence[str]) -> Shortcut:
    """How well x (n, d) tells the label (n,) of images that it was not fitted to."""
    counts = np.bincount(labels, minlength=len(classes))
    log_p = np.empty((len(labels), len(classes)))
    for fold in np.unique(folds):
        held = folds == fold
        log_p[held] = _log_likelihoods(x[~held], labels[~held], x[held], len(classes))
    hits = np.bincount(labels[log_p.argmax(1) == labels], minlength=len(classes))
    k = np.flatnonzero(counts)
    error = float(np.sqrt((_deviation(hits[k], counts[k]) ** 2).sum()) / len(k))
    accuracy, chance = float((hits[k] / counts[k]).mean()), 1 / len(k)
    is_strong = (accuracy - ONE_SIDED * error - chance) / (1 - chance) >= STRONG
    pairs = [] if is_strong else _pairs(log_p, labels, counts)
    return Shortcut(
        cue=cue,
        accuracy=accuracy,
        interval=(max(0.0, accuracy - TWO_SIDED * error), min(1.0, accuracy + TWO_SIDED * error)),
        chance=chance,
        is_strong=bool(is_strong or pairs),
        pairs=tuple((classes[a], classes[b]) for a, b in pairs),
    )


def _log_likelihoods(x: np.ndarray, labels: np.ndarray, asked: np.ndarray, num_classes: int) -> np.ndarray:
    """Of asked (m, d) in each class, (m, K), by naive Bayes on columns in bins that x (n, d) has counted."""
    counts = np.bincount(labels, minlength=num_classes)
    found = np.where(counts, 0.0, -np.inf) + np.zeros((len(asked), num_classes))
    for column, wanted in zip(x.T, asked.T):
        values = np.unique(column)
        if len(values) > BINS:
            values = np.unique(np.quantile(column, np.linspace(0, 1, BINS + 1)[1:]))
        edges, bins = values[:-1], len(values)
        table = np.zeros((bins, num_classes))
        np.add.at(table, (np.searchsorted(edges, column), labels), 1)
        found += np.log((table + 1 / bins) / (counts + 1))[np.searchsorted(edges, wanted)]
    return found


def _pairs(log_p: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> list[tuple[int, int]]:
    """The pairs of classes that are told apart with certainty, the surest first; none where they are few.

    Shapes: log_p (n, K), labels (n,), counts (K,).
    """
    enough = np.flatnonzero(counts >= FEWEST)
    if len(enough) < 2:
        return []
    log_p = log_p[:, enough]
    wins, deviations = np.empty((2, len(enough), len(enough)))
    for place, k in enumerate(enough):
        own = log_p[labels == k]
        won = (own[:, place, None] > own).sum(0) + 0.5 * (own[:, place, None] == own).sum(0)
        wins[place], deviations[place] = won / len(own), _deviation(won, len(own))
    low = wins + wins.T - 1 - OF_MANY * np.hypot(deviations, deviations.T)  # Youden's J, and how low it may be
    a, b = np.nonzero(np.triu(low >= CERTAIN, 1))
    order = np.argsort(-low[a, b], kind="stable")
    told = np.bincount(np.concatenate([a, b]), minlength=len(enough)) / max(1, len(enough) - 1)
    if told.max(initial=0) < ONE_CLASS and told.mean() < ALL_CLASSES:
        return []
    return [(int(enough[i]), int(enough[j])) for i, j in zip(a[order], b[order])]


def _deviation(hits: np.ndarray, of: np.ndarray | int) -> np.ndarray:
    """The standard error of a share, with two observations added as Agresti and Coull (1998) do."""
    share = (hits + 1) / (of + 2)
    return np.sqrt(share * (1 - share) / (of + 2))
