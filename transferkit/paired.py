"""Two classifiers on the same images: whether they differ, by how much, how many images show a difference.

Images of one group count together; where there are none, the test is McNemar's and the interval Bonett and Price's.
"""

import math

import numpy as np

Z_POWER = 0.841621  # the normal deviate of 80 %
Z = 1.959964  # and of 95 %, on two sides


def sign_test(differences: np.ndarray, unit: np.ndarray) -> float:
    """The two-sided p of no difference: how often random signs of the units' sums make a sum farther from 0.

    One as far from 0 counts half (mid-p), and p of 0 itself is 1. Of single images that is McNemar's test,
    which Dietterich recommends for two classifiers, as Fagerland and others do: the exact one says of 3 to 4 in 100
    equal pairs that they differ, not of 5, and misses as many more that do. The distribution is read off its
    characteristic function, a product of cosines.

    Shapes: differences (N,) int, unit (N,) as of `metrics.units`.
    Source: Dietterich 1998, https://doi.org/10.1162/089976698300017197; Fagerland, Lydersen and Laake 2013,
    https://doi.org/10.1186/1471-2288-13-91

    >>> sign_test(np.array([1, 1, 1, 1, 1, -1, 0, 0]), np.arange(8))
    0.125
    """
    sums = abs(np.rint(np.bincount(unit, differences))).astype(np.int64)
    sizes, counts = np.unique(sums[sums > 0], return_counts=True)
    most, found = int(sizes @ counts), abs(int(differences.sum()))
    if not found:
        return 1.0
    angles = 2 * np.pi * np.arange(most + 1) / (2 * most + 1)  # (M + 1,)
    wave = np.ones(most + 1)
    for size, count in zip(sizes, counts):
        wave *= np.cos(size * angles) ** count
    shares = np.fft.irfft(wave, 2 * most + 1)  # of the sums 0, 1, ..., M, -M, ..., -1
    p = float(2 * shares[found + 1 : most + 1].sum() + shares[found])
    return min(1.0, max(round(p, 14), 2.0 ** -int(counts.sum())))


def interval(differences: np.ndarray, unit: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the mean of differences that are -1, 0 or 1, by the t distribution over units.

    Two are added, one in favour of each: each an image, or, where differences come in groups, as large as these are, so
    that a few images on which two classifiers agree are no proof that they always do.

    Shapes: differences (N,), unit (N,) as of `metrics.units`.
    Source: Bonett and Price 2012, https://doi.org/10.3102/1076998611411915
    """
    sums, sizes = np.bincount(unit, differences), np.bincount(unit)
    found = sums[sums != 0]
    more = math.sqrt(float(found @ found) / len(found)) if len(found) else float(sizes.mean())
    low, high = mean_interval(np.array([*sums, more, -more]), np.array([*sizes, more, more]))
    return max(-1.0, low), min(1.0, high)


def mean_interval(sums: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a mean over images that lie in two units or more. Shapes: (G,) both."""
    from scipy.special import stdtrit

    mean = float(sums.sum() / sizes.sum())
    excess = sums - mean * sizes
    variance = len(sums) / (len(sums) - 1) * float(excess @ excess) / float(sizes.sum()) ** 2
    half = float(stdtrit(len(sums) - 1, 0.975)) * math.sqrt(variance)
    return mean - half, mean + half


def images_needed(differences: np.ndarray, unit: np.ndarray, *, to_see: float) -> int:
    """About how many images show a difference of `to_see` with 80 % probability, if as many as here are judged unlike.

    Shapes: differences (N,) of -1, 0, 1, unit (N,).
    Source: Connor 1987, https://doi.org/10.2307/2531961; times the design effect where images lie in groups
    """
    n = len(differences)
    unlike = max((float((differences != 0).sum()) + 2) / (n + 2), to_see)
    count = (Z * math.sqrt(unlike) + Z_POWER * math.sqrt(unlike - to_see**2)) ** 2 / to_see**2
    sums = np.bincount(unit, differences)
    alone = float(differences @ differences)
    effect = max(1.0, float(sums @ sums) / alone) if alone else n / len(sums)
    digits = 10 ** max(0, math.floor(math.log10(count * effect)) - 1)
    return math.ceil(count * effect / digits) * digits
