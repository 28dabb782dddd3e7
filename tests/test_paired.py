"""Two classifiers on the same images: the test is SciPy's, or counted sign by sign; intervals hold the truth."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from transferkit import paired


def drawn(rng, n, only):
    """Differences of two classifiers that are right alone on those shares of the images. Shapes: (n,)."""
    return rng.choice([1, 0, -1], n, p=[only[0], 1 - sum(only), only[1]])


@pytest.mark.parametrize("n", [1, 9, 60, 1500])
def test_of_single_images_the_test_is_that_of_mcnemar_by_mid_p(n):
    rng = np.random.default_rng(n)
    for only in ((0.0, 0.0), (0.3, 0.1), (0.1, 0.1), (0.05, 0.4), (0.0, 1.0)):
        found = drawn(rng, n, only)
        one, other = (found > 0).sum(), (found < 0).sum()
        few, coin = min(one, other), stats.binom(one + other, 0.5)
        expected = 1 if one == other else 2 * coin.cdf(few) - coin.pmf(few)  # of Fagerland and others, equation 3
        assert paired.sign_test(found, np.arange(n)) == pytest.approx(expected, rel=1e-6, abs=1e-13)


@pytest.mark.parametrize("seed", range(5))
def test_of_groups_every_group_keeps_or_changes_its_sign_as_a_whole(seed):
    rng = np.random.default_rng(seed)
    unit, found = rng.integers(0, 8, 40), drawn(rng, 40, (0.4, 0.2))
    sums = np.array([found[unit == k].sum() for k in range(8)])
    reached = np.array([abs(sum(signs * sums)) for signs in map(np.array, product((1, -1), repeat=8))])
    at = abs(sums.sum())
    expected = np.mean(reached > at) + np.mean(reached == at) / 2 if at else 1
    assert paired.sign_test(found, unit) == pytest.approx(expected)


def test_the_interval_of_single_images_is_that_of_bonett_and_price():
    found = np.repeat([1, -1, 0], [20, 8, 372])
    one, other, n = 21 / 402, 9 / 402, 402
    half = stats.t.ppf(0.975, n - 1) * np.sqrt((one + other - (one - other) ** 2) / (n - 1))
    assert paired.interval(found, np.arange(400)) == pytest.approx((one - other - half, one - other + half))


@pytest.mark.parametrize(("n", "only"), [(100, (0.1, 0.05)), (400, (0.07, 0.02)), (400, (0.05, 0.05))])
def test_the_interval_holds_the_true_difference_in_95_of_100(n, only):
    rng, held = np.random.default_rng(0), 0
    for _ in range(600):
        low, high = paired.interval(drawn(rng, n, only), np.arange(n))
        held += low <= only[0] - only[1] <= high
    assert 0.93 <= held / 600 <= 0.98


def test_the_interval_of_groups_holds_it_too_where_that_of_single_images_does_not():
    rng, held = np.random.default_rng(0), np.zeros(2)
    for _ in range(400):
        unit = np.repeat(np.arange(80), 5)
        found = np.where(rng.random(400) < 0.8, drawn(rng, 80, (0.1, 0.05))[unit], drawn(rng, 400, (0.1, 0.05)))
        ends = [paired.interval(found, of) for of in (unit, np.arange(400))]
        held += [low <= 0.05 <= high for low, high in ends]
    assert 0.93 <= held[0] / 400 <= 0.98
    assert held[1] / 400 < 0.85


def test_equal_classifiers_are_told_apart_in_5_of_100_at_most_and_5_points_seen_in_80_at_least():
    rng = np.random.default_rng(0)
    equal, unlike = ([paired.sign_test(drawn(rng, 400, only), np.arange(400)) < 0.05 for _ in range(500)]
                     for only in ((0.045, 0.045), (0.07, 0.02)))  # fmt: skip
    assert np.mean(equal) <= 0.06  # 4.7 % by enumeration, and chance
    assert np.mean(unlike) >= 0.8


def test_classifiers_that_always_agree_may_still_differ_by_as_much_as_the_images_leave_open():
    low, high = paired.interval(np.zeros(100, int), np.arange(100))
    assert -low == high == pytest.approx(stats.t.ppf(0.975, 101) * np.sqrt(2 / 101 / 102))
    of_groups = paired.interval(np.zeros(100, int), np.repeat(np.arange(10), 10))
    assert of_groups[1] > 4 * high
    assert paired.interval(np.ones(3, int), np.arange(3))[1] == 1


def test_a_group_whose_images_are_judged_alike_counts_as_an_image():
    found = np.array([1, 1, 0, -1, 0, 1, 0, 0])
    ends = [paired.interval(np.repeat(found, times), np.repeat(np.arange(8), times)) for times in (1, 10)]
    assert ends[0] == pytest.approx(ends[1])


def test_as_many_images_as_are_said_to_be_needed_show_the_difference_in_four_of_five():
    rng, small = np.random.default_rng(0), drawn(np.random.default_rng(1), 5000, (0.06, 0.04))
    n = paired.images_needed(small, np.arange(5000), to_see=0.02)
    assert n % 100 == 0  # of four digits two say how sure that is
    seen = [paired.sign_test(drawn(rng, n, (0.06, 0.04)), np.arange(n)) < 0.05 for _ in range(400)]
    assert 0.74 <= np.mean(seen) <= 0.86
    in_pairs = paired.images_needed(np.repeat(small, 2), np.repeat(np.arange(5000), 2), to_see=0.02)
    assert in_pairs == pytest.approx(2 * n, rel=0.1)
