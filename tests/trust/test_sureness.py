"""Of the answers that are sure no more are wrong than was asked for."""

import numpy as np
import pytest

from transferkit.trust import Sureness, sureness
from transferkit.zoo.errors import UsageError

rng = np.random.default_rng(0)


def answers(count):
    confidence = rng.uniform(0.3, 1, count)
    return confidence, rng.random(count) < confidence


@pytest.mark.parametrize("asked", [0.02, 0.05, 0.10])
def test_new_answers_above_the_threshold_are_wrong_as_often_as_was_asked_for(asked):
    threshold = sureness.learn(*answers(3000)).threshold(asked)
    confidence, right = answers(20_000)
    assert (~right[confidence >= threshold]).mean() == pytest.approx(asked, abs=0.015)


def test_answers_that_are_wrong_more_often_than_they_say_count_as_they_were_found():
    confidence = np.full(1000, 0.99)
    right = rng.random(1000) < 0.8
    assert sureness.learn(confidence, right).threshold(0.05) > 1


def test_answers_that_are_as_sure_as_each_other_are_given_or_withheld_together():
    confidence = np.array([0.9, 0.8, 0.8, 0.8])
    right = np.array([True, True, False, False])
    (first, _), (second, wrong) = sureness.learn(confidence, right).points
    assert (first, second) == (0.9, 0.8)
    assert wrong == pytest.approx((2 / 4 + (0.1 + 3 * 0.2) / 4) / 2)


def test_a_laxer_threshold_is_taken_where_it_does_as_well():
    found = sureness.learn(np.array([0.99, 0.98, 0.97, 0.96]), np.array([False, True, True, True]))
    assert found.threshold(0.2) == 0.96


def test_who_allows_every_error_gets_every_answer():
    confidence, right = answers(500)
    assert sureness.learn(confidence, right).threshold(1) == confidence.min()


def test_coverage_ends_with_all_images_and_the_accuracy_of_all():
    confidence, right = answers(1000)
    found = sureness.coverage(confidence, right)
    assert found[0] == [0.001, right[confidence.argmax()]]
    assert found[-1] == [1, pytest.approx(right.mean())]
    half = min(found, key=lambda point: abs(point[0] - 0.5))
    surest = right[np.argsort(-confidence)][: round(half[0] * 1000)]
    assert half[1] == pytest.approx(surest.mean())


def test_without_a_share_asked_for_it_is_one_in_twenty_and_unknown_stays_unknown():
    known = Sureness(points=((0.9, 0.01), (0.7, 0.05), (0.6, 0.1)))
    found = [sureness.threshold(known, share) for share in (None, 0.1, 0.0)]
    assert (found, sureness.threshold(None, None)) == ([0.7, 0.6, 2.0], None)
    with pytest.raises(UsageError, match=r"no share of 0\.05 can be kept"):
        sureness.threshold(None, 0.05)
    for share in (-0.1, 1.1):
        with pytest.raises(UsageError, match="allowed is a share from 0 to 1"):
            sureness.threshold(known, share)
