"""A power law through few points: what follows one is foretold, and the interval holds what it says."""

import numpy as np
import pytest

from transferkit.train import power_law

SIZES = np.array([40.0, 80.0, 160.0, 256.0])


@pytest.mark.parametrize("exponent", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("left", [0.0, 0.3])
def test_errors_that_follow_a_law_without_noise_are_foretold(exponent, left):
    def error(images):
        return 0.2 * (left + (1 - left) * (images / 256) ** -exponent)

    law = power_law.fit(SIZES, error(SIZES), np.full(4, 0.001), shared=0.0)
    for images in (100, 256, 512):
        expected, low, high = law.forecast(images)
        assert expected == pytest.approx(error(images), abs=0.01)
        assert low <= expected <= high
    gain, low, high = law.gain(256, 10)
    assert gain == pytest.approx(error(256) - error(266), abs=0.002)
    assert low <= gain <= high


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Laws drawn as is assumed before anything is measured, points with noise: 95 % of the forecasts hold the truth."""
    rng, held, count = np.random.default_rng(0), 0, 200
    for _ in range(count):
        level, left = rng.uniform(0.05, 0.4), rng.beta(1, power_law.FEW_LEFT + 1)
        exponent = np.clip(power_law.USUAL * np.exp(power_law.SPREAD * rng.normal()), 0.1, 1.5)
        shared, own = 0.002, np.array([0.03, 0.02, 0.015, 0.015])

        def error(images):
            return level * (left + (1 - left) * (images / 256) ** -exponent)  # noqa: B023

        measured = error(SIZES) + shared * rng.normal() + own * rng.normal(size=4)
        _, low, high = power_law.fit(SIZES, measured, own, shared=shared).forecast(512)
        held += low <= error(512) <= high
    assert 0.9 <= held / count <= 0.99


def test_before_anything_is_measured_a_small_rest_and_exponents_around_a_half_are_likely():
    law = power_law.fit(SIZES, np.full(4, 0.3), np.full(4, 1e6), shared=0.0)
    of_exponent = {c: law.weight[np.isclose(law.exponent, c)].sum() for c in (0.5, 1.0)}
    assert of_exponent[1.0] / of_exponent[0.5] == pytest.approx(np.exp(-((np.log(2) / power_law.SPREAD) ** 2) / 2))
    of_rest = {left: law.weight[np.isclose(law.left, left)].sum() for left in (0.0, 0.5)}
    assert of_rest[0.5] / of_rest[0.0] == pytest.approx(0.5**4)  # a density of Beta(1, 5)
    assert law.level.min() >= 0
    assert law.level.max() <= 1


def test_the_interval_has_what_the_points_have_in_common():
    law = power_law.fit(SIZES, 0.3 * (SIZES / 256) ** -0.5, np.full(4, 1e-4), shared=0.02)
    middle, low, high = law.forecast(256)
    assert (middle, low, high) == pytest.approx((0.3, 0.3 - 0.0392, 0.3 + 0.0392), abs=2e-3)


def test_more_images_never_make_it_worse_and_no_share_leaves_0_to_1():
    law = power_law.fit(SIZES, [0.9, 0.95, 0.97, 0.99], np.full(4, 0.05), shared=0.1)  # it gets worse with more
    errors = [law.forecast(images)[0] for images in (10, 100, 1000, 10_000)]
    assert errors == sorted(errors, reverse=True)
    for images in (10, 256, 1000):
        middle, low, high = law.forecast(images)
        assert 0 <= low <= middle <= high <= 1


def test_without_a_single_wrong_answer_the_interval_still_has_a_width():
    _, low, high = power_law.fit(SIZES, np.zeros(4), np.full(4, 0.01), shared=0.02).forecast(512)
    assert (low, high > 0.01) == (0, True)
