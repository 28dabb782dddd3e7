"""What scores are made of: plain functions on arrays."""

import math

import numpy as np


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


def is_better(candidate: np.ndarray, incumbent: np.ndarray) -> bool:
    """Whether the candidate's mean log loss is lower by more than one standard error of the paired difference.

    Shapes: the log losses (N,) of both on the same images.
    """
    gain = incumbent - candidate
    if len(gain) < 2:
        return False
    return bool(gain.mean() > gain.std(ddof=1) / math.sqrt(len(gain)))
