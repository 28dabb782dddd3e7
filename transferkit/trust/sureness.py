"""How sure an answer has to be, that no more than a given share of those which are as sure is wrong.

Source: El-Yaniv and Wiener 2010 (the risk of those answered against how many are), https://jmlr.org/papers/v11/el-yaniv10a.html;
Angelopoulos and Bates 2021, https://arxiv.org/abs/2107.07511
"""

from dataclasses import dataclass

import numpy as np

from transferkit.choices import MAX_ERROR
from transferkit.zoo.errors import UsageError

MOST_POINTS = 100


@dataclass(frozen=True, kw_only=True)
class Sureness:
    """Which share is wrong of the answers that are as sure as this, or surer.

    Fields: points of (confidence, share wrong), from the surest on.
    """

    points: tuple[tuple[float, float], ...]

    def threshold(self, max_error: float) -> float:
        """The confidence from which on at most that share is wrong; above 1, which no answer is, where there is none.

        >>> sureness = Sureness(points=((0.9, 0.01), (0.6, 0.1)))
        >>> sureness.threshold(0.05), sureness.threshold(0.1), sureness.threshold(0.001)
        (0.9, 0.6, 2.0)
        """
        return min((confidence for confidence, wrong in self.points if wrong <= max_error), default=2.0)


def threshold(known: Sureness | None, max_error: float | None) -> float | None:
    """The confidence from which on answers are sure; None where nothing is known of that, and no share was asked for.

    Args: max_error, the share of sure answers that may be wrong, `MAX_ERROR` if None.
    Raises: UsageError if a share is asked for that cannot be kept.
    """
    if max_error is not None and not 0 <= max_error <= 1:
        raise UsageError(f"max_error {max_error}: allowed is a share from 0 to 1")
    if known is not None:
        return known.threshold(MAX_ERROR if max_error is None else max_error)
    if max_error is not None:
        raise UsageError(
            f"no share of {max_error:g} can be kept: this model does not know how often its answers are wrong; what "
            "transferkit finetune makes knows it, and so does an ensemble of runs on the same images"
        )
    return None


def learn(confidence: np.ndarray, right: np.ndarray) -> Sureness:
    """From answers to images that the fit had not seen.

    The share wrong is the mean of two: of the answers counted as wrong, and of those that calibrated probabilities
    expect to be. The first alone is coarse where few are wrong, the second alone as good as the calibration.

    Shapes: confidence (n,) calibrated, right (n,) bool.
    """
    order = np.argsort(-confidence, kind="stable")
    confidence, count = confidence[order], np.arange(1, len(order) + 1)
    wrong = (np.cumsum(~right[order]) + np.cumsum(1 - confidence)) / (2 * count)
    is_last = np.append(confidence[1:] < confidence[:-1], True)  # of those as sure as each other
    confidence, wrong = confidence[is_last], wrong[is_last]
    chosen = np.unique(np.linspace(0, len(wrong) - 1, MOST_POINTS).round().astype(int))
    return Sureness(points=tuple((float(confidence[k]), float(wrong[k])) for k in chosen))


def coverage(confidence: np.ndarray, right: np.ndarray) -> list[list[float]]:
    """Points of [share of the images that is answered, share right of those], the surest answers first.

    Shapes: confidence (n,), right (n,) bool.
    """
    order = np.argsort(-confidence, kind="stable")
    count = np.arange(1, len(order) + 1)
    share = np.cumsum(right[order]) / count
    chosen = np.unique(np.linspace(0, len(order) - 1, MOST_POINTS).round().astype(int))
    return [[float(count[k] / len(order)), float(share[k])] for k in chosen]
