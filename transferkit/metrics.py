"""What scores are made of: plain functions on arrays."""

import math

import numpy as np

MOST_BINS = 10
LEAST_IN_BIN = 25  # answers; of fewer the noise of a bin is larger than what it measures


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
    if n == 0:
        return 0.0, 1.0
    z = 1.959964
    share = hits / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)


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


def is_better(candidate: np.ndarray, incumbent: np.ndarray) -> bool:
    """Whether the candidate's mean log loss is lower by more than one standard error of the paired difference.

    Shapes: the log losses (N,) of both on the same images.
    """
    gain = incumbent - candidate
    if len(gain) < 2:
        return False
    return bool(gain.mean() > gain.std(ddof=1) / math.sqrt(len(gain)))
