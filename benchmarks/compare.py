"""Whether intervals hold the truth and `compare` sees a difference, in simulation: shares in per cent.

python -m benchmarks.compare

Two classifiers with accuracies of 90 and 85, or 87.5 both, disagree on `UNLIKE` of the images in the mean, as much as
pairs of real runs did for their errors (0.39 to 0.66 of the sum of both error rates, 0.52 in the mean of eight pairs:
probes of three networks on two folders, three strategies on a third).
"""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import claim
from transferkit import metrics, paired

UNLIKE = 0.13
N = 400
HELD = claim.at_least(93)
IN_GROUPS = ((0, 0.0), (50, 0.2), (100, 0.8))  # how many groups, and how far images of one are alike


def main() -> None:
    claim.measured(claim.options(__doc__), simulate)


def simulate(given: Namespace) -> dict[str, Any]:
    """Each share of so many draws."""
    rng, draws = np.random.default_rng(0), 200 if given.quick else 10_000
    figures = []

    def share(name: str, once: Callable[[], bool], goal: claim.Goal = HELD) -> None:
        found = 100 * float(np.mean([once() for _ in range(draws)]))
        figures.append(claim.figure(name, found, unit="%", goal=goal))

    for gap, says, goal in ((0.0, "equal", claim.at_most(5)), (0.05, "5 points apart", claim.at_least(80))):
        only = ((UNLIKE + gap) / 2, (UNLIKE - gap) / 2)
        share(f"{N} images, {says}: said to differ", lambda only=only: sees(rng, only), goal)
        for groups, alike in IN_GROUPS:
            where = f"in {groups} groups, {alike:g} alike" if groups else "each alone"
            share(
                f"{N} images {where}, {says}: the interval of the difference holds it",
                lambda only=only, gap=gap, groups=groups, alike=alike: holds(rng, only, gap, groups, alike),
            )
    for accuracy in (0.85, 0.95):
        for groups, alike in IN_GROUPS:
            where = f"in {groups} groups, {alike:g} alike" if groups else "each alone"
            share(
                f"{N} images {where}, accuracy {100 * accuracy:.0f} %: its interval holds it",
                lambda accuracy=accuracy, groups=groups, alike=alike: holds_share(rng, accuracy, groups, alike),
            )
    return {"data": f"{draws} draws of {N} images", "figures": figures}


def drawn(rng: np.random.Generator, values: tuple, shares: tuple, groups: int, alike: float) -> tuple:
    """Images with one of `values` each, that of its group where chance says so; and the number of its group."""
    unit = np.sort(rng.integers(0, groups, N)) if groups else np.arange(N)
    own, common = rng.choice(values, N, p=shares), rng.choice(values, N, p=shares)
    found = np.where(rng.random(N) < alike, common[unit], own)
    return found, np.unique(unit, return_inverse=True)[1]


def sees(rng: np.random.Generator, only: tuple[float, float]) -> bool:
    """Whether the test finds a difference."""
    return paired.sign_test(*drawn(rng, (1, -1, 0), (*only, 1 - sum(only)), 0, 0.0)) < 0.05


def holds(rng: np.random.Generator, only: tuple[float, float], gap: float, groups: int, alike: float) -> bool:
    """Whether the interval of the difference holds the true one."""
    low, high = paired.interval(*drawn(rng, (1, -1, 0), (*only, 1 - sum(only)), groups, alike))
    return low <= gap <= high


def holds_share(rng: np.random.Generator, accuracy: float, groups: int, alike: float) -> bool:
    """Whether the interval of an accuracy holds the true one."""
    low, high = metrics.share_interval(*drawn(rng, (True, False), (accuracy, 1 - accuracy), groups, alike))
    return low <= accuracy <= high


if __name__ == "__main__":
    main()
