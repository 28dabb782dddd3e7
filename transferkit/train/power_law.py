"""How an error falls with the number of images: a power law, as far as a few noisy points tell it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EXPONENTS = np.linspace(0.1, 1.5, 15)  # c
USUAL, SPREAD = 0.5, 0.7  # the middle of what c is before anything is measured, and the deviation of its logarithm
LEFT = np.linspace(0, 0.95, 20)  # shares of the error that no number of images takes away,
FEW_LEFT = 4  # each as likely before as the share that images do take away, to this power
LEVELS = np.linspace(-4, 4, 33)  # of the error at the largest size, in standard errors around what was measured


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """Laws error(n) = level * (left + (1 - left) * (n / most) ** -c), each with its probability, and the error of all.

    Fields: shared, the standard error that all points have in common, as the same images judge them.
    Shapes: level, left, exponent, weight (L,).
    """

    most: float
    level: np.ndarray
    left: np.ndarray
    exponent: np.ndarray
    weight: np.ndarray
    shared: float

    def errors(self, images: float) -> np.ndarray:
        """The error with so many images by each law; shape (L,)."""
        return self.level * (self.left + (1 - self.left) * (images / self.most) ** -self.exponent)

    def forecast(self, images: float) -> tuple[float, float, float]:
        """The expected error with so many images, and its 95 % interval."""
        errors = self.errors(images)
        middle = float(self.weight @ errors)
        below, above = (math.hypot(end - middle, 1.96 * self.shared) for end in _quantiles(errors, self.weight))
        return min(middle, 1.0), min(max(middle - below, 0.0), 1.0), min(middle + above, 1.0)

    def gain(self, images: float, more: float) -> tuple[float, float, float]:
        """By how much `more` images beside so many are expected to lower the error, and the 95 % interval."""
        gains = self.errors(images) - self.errors(images + more)
        return (float(self.weight @ gains), *_quantiles(gains, self.weight))


def fit(sizes: Sequence[float], errors: Sequence[float], deviations: Sequence[float], *, shared: float) -> PowerLaw:
    """The laws that make errors at some sizes likely, by Bayes' rule on a grid: few points fix no three numbers.

    Args: deviations, the standard errors of the points beside `shared`.
    Source: Figueroa et al. 2012, https://doi.org/10.1186/1472-6947-12-8, for the law and weighting by size.

    >>> sizes = np.array([25, 50, 100, 200])
    >>> law = fit(sizes, 0.1 + sizes ** -0.5, np.full(4, 0.002), shared=0.0)
    >>> round(law.forecast(400)[0], 2)  # 0.1 + 0.05
    0.15
    """
    n, y, spread = (np.asarray(each, dtype=np.float64) for each in (sizes, errors, deviations))
    last = int(n.argmax())
    levels = np.unique(np.clip(y[last] + LEVELS * spread[last], 0, 1))
    level, left, exponent = (axis.ravel() for axis in np.meshgrid(levels, LEFT, EXPONENTS, indexing="ij"))
    law = PowerLaw(most=n[last], level=level, left=left, exponent=exponent, weight=np.ones(1), shared=shared)
    fits = sum(((law.errors(size) - error) / deviation) ** 2 for size, error, deviation in zip(n, y, spread))
    before = (np.log(exponent / USUAL) / SPREAD) ** 2 - 2 * FEW_LEFT * np.log(1 - left)
    likely = np.exp(-(fits + before - (fits + before).min()) / 2)
    return PowerLaw(
        most=n[last], level=level, left=left, exponent=exponent, weight=likely / likely.sum(), shared=shared
    )


def _quantiles(values: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """The ends of the middle 95 % of weighted values."""
    order = np.argsort(values)
    share = np.cumsum(weight[order])
    low, high = (values[order][min(np.searchsorted(share, end), len(values) - 1)] for end in (0.025, 0.975))
    return float(low), float(high)
