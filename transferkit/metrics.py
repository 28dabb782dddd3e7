"""What scores are made of: plain functions on arrays."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

CALIBRATED = "calibrated_loss"  # among the scores of an epoch, what `trust.calibration` leaves of its loss
Z = 1.959964  # the normal deviate of 95 %
MOST_BINS = 10
LEAST_IN_BIN = 25  # answers; of fewer the noise of a bin is larger than what it measures


def best_line(lines: Sequence[dict[str, Any]]) -> int:
    """The place of the best of the lines of metrics.jsonl: lowest validation loss, ties by accuracy, then the first."""
    loss = deciding(lines)
    return min(range(len(lines)), key=lambda place: (lines[place]["val"][loss], -lines[place]["val"]["accuracy"]))


def deciding(lines: Sequence[dict[str, Any]]) -> str:
    """Which validation loss of lines of metrics.jsonl decides: the calibrated one, where all have it.

    A probe has none, and runs that an earlier version began have not.
    """
    return CALIBRATED if all(CALIBRATED in line["val"] for line in lines) else "loss"


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis.

    >>> softmax(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def log_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Negative log likelihood of each true label, in nats.

    Shapes: logits (N, K), labels (N,) -> (N,).
    """
    top = logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return log_sum - logits[np.arange(len(labels)), labels]


def confusion(labels: np.ndarray, predicted: np.ndarray, *, num_classes: int) -> np.ndarray:
    """Counts of (true, predicted) pairs.

    Shapes: labels (N,), predicted (N,) -> (K, K); rows are true classes.
    """
    return np.bincount(labels * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)


def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share of `hits` among `n`.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953

    >>> [round(end, 3) for end in wilson_interval(8, 10)]
    [0.49, 0.943]
    """
    return _wilson(hits / n, n, Z) if n else (0.0, 1.0)


def _wilson(share: float, n: float, z: float) -> tuple[float, float]:
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def units(groups: np.ndarray) -> np.ndarray:
    """A number for each group and for each image that is in none. Shapes: groups (N,) str, "" for none -> (N,) int64.

    >>> units(np.array(["cat", "", "cat", ""])).tolist()
    [0, 1, 0, 2]
    """
    names, of = np.unique(groups, return_inverse=True)
    is_alone = groups == ""
    of[is_alone] = len(names) + np.arange(is_alone.sum())
    return np.unique(of, return_inverse=True)[1]


def share_interval(right: np.ndarray, unit: np.ndarray | None = None) -> tuple[float, float]:
    """The 95 % interval of the share of `right`: Wilson's, or where images lie in groups, one for as many as tell that.

    So many images chosen one by one would have the variance that the share has between groups (the design effect), and
    in place of the normal deviate stands that of t with a degree of freedom less than there are groups. Where all is
    right or all wrong, a group tells no more than an image. docs/design.md has the coverage beside that of a bootstrap.

    Shapes: right (N,) bool, unit (N,) as of `units`; None where no images belong together.
    Source: Korn and Graubard 1998, https://www150.statcan.gc.ca/n1/pub/12-001-x/1998002/article/4356-eng.pdf; Wilson's
    in it, Dean and Pagano 2015, https://doi.org/10.1093/jssam/smv024
    """
    n, count = len(right), 0 if unit is None else int(unit.max(initial=-1)) + 1
    hits = int(right.sum())
    if unit is None or count == n:
        return wilson_interval(hits, n)
    share = hits / n
    if count == 1 or hits in (0, n):
        return _wilson(share, count, Z)
    from scipy.special import stdtrit

    excess = np.bincount(unit, right - share)  # of each group, over as many as there would be with that share
    variance = count / (count - 1) * float(excess @ excess) / n**2
    worth = min(n, share * (1 - share) / variance) if variance else n
    return _wilson(share, worth, float(stdtrit(count - 1, 0.975)))


def reliability(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Bins of equally many answers, the least certain first: how many, how sure in the mean, and the share right.

    There are 10 bins, fewer where one would hold less than 25. Answers that are as sure as each other count as right
    as they are in the mean, so that their order does not matter.

    Shapes: confidence (N,) in 0 .. 1, right (N,) bool -> (B, 3).
    Source: bins of equal numbers, Nixon et al. 2019, section 3.3, https://arxiv.org/abs/1904.01685
    """
    levels, of = np.unique(confidence, return_inverse=True)
    share = np.bincount(of, right, minlength=len(levels)) / np.bincount(of)
    share, confidence = share[np.sort(of)], np.sort(confidence)
    bins = np.array_split(np.arange(len(of)), max(1, min(MOST_BINS, len(of) // LEAST_IN_BIN)))
    return np.array([(len(rows), confidence[rows].mean(), share[rows].mean()) for rows in bins])


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """How far shares right are from what was said, in the mean over answers (ECE) of the bins of `reliability`.

    Answers that say exactly what is so get more than 0 by chance: of 100 images about 0.05, of 500 about 0.04, of 2,000
    about 0.02; more bins would make it more. No correction is made, so that figures can be compared with those of
    others.

    Shapes: confidence (N,) in 0 .. 1, right (N,) bool.
    Source: Naeini et al. 2015, https://doi.org/10.1609/aaai.v29i1.9602

    >>> round(calibration_error(np.full(4, 0.9), np.array([True, True, True, False])), 3)
    0.15
    """
    counts, said, share = reliability(confidence, right).T
    return float(counts @ abs(said - share) / counts.sum())


def roc_auc(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """How often an image of the class has a higher score than one without it, equal ones by half; None without both.

    Shapes: scores (N,), of which only the order counts, labels (N,) bool.
    Source: Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747

    >>> roc_auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
    0.875
    """
    positives = int(labels.sum())
    pairs = positives * (len(labels) - positives)
    if not pairs:
        return None
    _, of, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[of]  # the mean of those that are equal
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / pairs)


def is_better(candidate: np.ndarray, incumbent: np.ndarray) -> bool:
    """Whether the candidate's mean log loss is lower by more than one standard error of the paired difference.

    Shapes: the log losses (N,) of both on the same images.
    """
    gain = incumbent - candidate
    if len(gain) < 2:
        return False
    return bool(gain.mean() > gain.std(ddof=1) / math.sqrt(len(gain)))
