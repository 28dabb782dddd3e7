"""The judgement of learning rates, on problems whose answer is known: descent on a quadratic is stable below 2 / L."""

import math

import numpy as np
import pytest

from transferkit.train.lr_find import Trial, suggest
from transferkit.zoo.errors import DivergedError

STEPS = 40


def bowl(lr: float, *, curvatures: tuple[float, ...] = (1.0,), steps: int = STEPS, floor: float = 0.0) -> Trial:
    """Descent from (1, 1, ...) on the sum of curvature / 2 * x ** 2 in closed form; it ends early if it overflows."""
    h = np.array(curvatures)
    with np.errstate(over="ignore"):
        factors = (1 - lr * h) ** (2 * np.arange(steps)[:, None])  # (steps, D)
        losses = floor + (h / 2 * factors).sum(axis=1)
    finite = np.isfinite(losses)
    return Trial(lr, tuple(losses if finite.all() else losses[: int(finite.argmin()) + 1]))


def test_every_rate_above_two_over_the_curvature_is_very_high_and_none_below_is():
    sharpest = 8.0
    rates = 2 / sharpest * np.array([0.01, 0.1, 0.5, 0.9, 0.99, 1.01, 1.1, 2, 1e30])
    found = suggest([bowl(lr, curvatures=(sharpest, 1.0)) for lr in rates])
    assert [word == "very high" for word in found.words] == [lr > 2 / sharpest for lr in rates]
    assert found.high < 2 / sharpest


def test_on_a_round_bowl_the_four_words_are_those_of_the_formula():
    # the loss is (1 - lr) ** (2 t) / 2: at 0.02 and 1.998 of it too slowly, at 0.3 to 1.7 at once, above 2 never
    rates = (0.002, 0.02, 0.3, 1.0, 1.7, 1.998, 2.1, 3.0)
    expected = ("low", "low", "good", "good", "good", "high", "very high", "very high")
    assert suggest([bowl(lr) for lr in rates]).words == expected


def test_the_suggestion_is_the_geometric_middle_of_the_range_of_good_rates():
    found = suggest([bowl(lr) for lr in (0.002, 0.3, 1.0, 1.7, 2.1)])
    assert (found.low, found.high) == (0.3, 1.7)
    assert found.lr == pytest.approx(10 ** ((math.log10(0.3) + math.log10(1.7)) / 2))


@pytest.mark.parametrize(
    ("rates", "below", "above", "said"),
    [
        ((0.002, 0.3, 1.0, 2.1), 0.002, 2.1, "good from 0.3 to 1; 0.002 is too low, 2.1 is too high"),
        ((0.002, 1.0, 2.1), 0.002, 2.1, "the only good one tried; 0.002 is too low, 2.1 is too high"),
        ((0.3, 1.0, 1.998), None, 1.998, "good from 0.3 to 1; none lower was tried, 1.998 is too high"),
        ((0.02, 1.0), 0.02, None, "the only good one tried; 0.02 is too low, none higher was tried"),
    ],
)
def test_the_range_is_told_with_the_rates_beside_it_and_says_where_nothing_was_tried(rates, below, above, said):
    found = suggest([bowl(lr) for lr in rates])
    assert (found.below, found.above) == (below, above)
    assert found.span == said.replace("1.998", "2")  # two digits


def test_good_rates_reach_95_percent_of_the_best_descent_whatever_the_floor_of_the_loss():
    rates = np.geomspace(1e-3, 1.9, 30)
    last = np.arange(STEPS * 3 // 4, STEPS)
    ends = np.array([((1 - lr) ** (2 * last)).mean() / 2 for lr in rates])
    good = rates[0.5 - ends >= 0.95 * (0.5 - ends.min())]
    for floor in (0.0, 100.0):
        found = suggest([bowl(lr, floor=floor) for lr in rates])
        assert (found.low, found.high) == (good[0], good[-1])


def test_on_a_poorly_conditioned_bowl_the_suggestion_beats_every_rate_ten_times_off():
    curvatures = tuple(np.geomspace(0.1, 10, 20))
    found = suggest([bowl(lr, curvatures=curvatures) for lr in np.geomspace(1e-4, 1, 9)])
    best = bowl(found.lr, curvatures=curvatures).end
    assert all(bowl(found.lr * factor, curvatures=curvatures).end > best for factor in (0.1, 10))


def test_noise_of_the_batches_does_not_break_the_range():
    random = np.random.default_rng(0)
    rates = np.geomspace(1e-4, 10, 6)
    trials = [bowl(lr, steps=80, floor=1.0) for lr in rates]
    noisy = [Trial(t.lr, tuple(np.array(t.losses) + random.normal(0, 0.02, len(t.losses)))) for t in trials]
    assert suggest(noisy).words == suggest(trials).words


@pytest.mark.parametrize("end", [math.inf, -math.inf, math.nan])
def test_a_loss_that_is_not_finite_makes_a_rate_very_high_however_low_the_others_are(end):
    found = suggest([Trial(0.1, (2.0, 1.0, 0.5)), Trial(1.0, (2.0, 0.1, end))])
    assert found.words == ("good", "very high")
    assert found.lr == 0.1


def test_an_easy_first_batch_does_not_make_good_rates_look_as_if_the_loss_had_risen():
    random = np.random.default_rng(0)
    batches = 2.0 + random.normal(0, 0.1, 80)
    batches[0] = 1.0  # the first batch is easy
    trials = [
        Trial(t.lr, tuple(batches * (0.6 + 0.4 * np.array(t.losses) / t.losses[0])))
        for t in (bowl(lr, steps=80) for lr in (1e-6, 1e-3, 0.5))
    ]
    assert suggest(trials).words == ("low", "low", "good")


def test_a_finite_loss_that_ends_above_its_start_is_very_high():
    assert suggest([Trial(0.1, (2.0, 1.0)), Trial(1.0, (2.0, 2.1))]).words == ("good", "very high")


def test_only_neighbours_of_the_best_are_good_a_lucky_rate_beyond_a_gap_is_not():
    ends = {0.01: 1.0, 0.1: 1.5, 1.0: 1.01}
    found = suggest([Trial(lr, (2.0, end)) for lr, end in ends.items()])
    assert found.words == ("good", "high", "high")


def test_the_order_of_the_trials_changes_nothing_but_the_order_of_the_words():
    trials = [bowl(lr) for lr in (0.002, 0.3, 1.0, 1.998, 3.0)]
    forward, backward = suggest(trials), suggest(trials[::-1])
    assert forward.words == backward.words[::-1]
    assert (forward.lr, forward.low, forward.high) == (backward.lr, backward.low, backward.high)


def test_rates_of_which_none_lowers_the_loss_are_an_error_that_says_so():
    with pytest.raises(DivergedError, match=r"none of the learning rates from 2\.5 up; try lower"):
        suggest([bowl(3.0), bowl(2.5)])
