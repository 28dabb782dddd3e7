"""A temperature makes probabilities frequencies, and does no more than the images can vouch for."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from transferkit.tasks import SINGLE_LABEL, MultiLabel
from transferkit.trust import calibration

rng = np.random.default_rng(0)


def drawn(probabilities):
    """Labels of single answers that are right as often as they say."""
    return np.array([rng.choice(len(p), p=p) for p in probabilities])


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_logits_that_are_too_large_by_a_factor_are_divided_by_it(true):
    logits = rng.normal(size=(4000, 5)) * 3
    labels = drawn(SINGLE_LABEL.probabilities(logits / true))
    assert calibration.temperature([logits], labels, SINGLE_LABEL) == pytest.approx(true, rel=0.06)


@pytest.mark.parametrize("spread", [calibration.SPREAD, calibration.SPREAD_OF_REFITS, 5.0])
@pytest.mark.parametrize("true", [0.3, 12.0])
def test_it_has_the_least_of_the_loss_and_of_what_is_expected_beforehand(true, spread):
    logits = rng.normal(size=(60, 4)) * 3 * true
    labels = drawn(SINGLE_LABEL.probabilities(logits / true))

    def loss(log_temperature):
        losses = SINGLE_LABEL.log_losses(logits / math.exp(log_temperature), labels)
        return losses.sum() + (log_temperature / spread) ** 2 / 2

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-6}).x
    found = calibration.temperature([logits], labels, SINGLE_LABEL, spread=spread)
    assert math.log(found) == pytest.approx(best, abs=4e-4)


def test_of_a_network_that_was_fitted_once_more_less_is_believed_and_most_where_nobody_is_told():
    assert 0 < calibration.SPREAD_OF_REFITS < calibration.SPREAD < calibration.SPREAD_TO_COMPARE


def test_yes_or_no_of_each_class_is_calibrated_too():
    task, logits = MultiLabel(), rng.normal(size=(2000, 4)) * 3
    labels = rng.random(logits.shape) < task.probabilities(logits / 2)
    assert calibration.temperature([logits], labels, task) == pytest.approx(2, rel=0.06)


def test_the_mean_of_several_networks_is_what_is_calibrated():
    logits = [rng.normal(size=(4000, 3)) * 4 for _ in range(3)]
    truth = np.mean([SINGLE_LABEL.probabilities(each / 2) for each in logits], axis=0)
    labels = drawn(truth)
    assert calibration.temperature(logits, labels, SINGLE_LABEL) == pytest.approx(2, rel=0.08)


def test_images_that_are_all_named_right_change_nothing():
    labels = rng.integers(0, 3, 200)
    assert calibration.temperature([2 * np.eye(3)[labels]], labels, SINGLE_LABEL) == 1


def test_a_single_mistake_among_four_does_not_make_every_answer_a_guess():
    labels = np.array([0, 1, 2, 0])
    logits = 30 * np.eye(3)[[0, 1, 2, 1]]
    assert 1 < calibration.temperature([logits], labels, SINGLE_LABEL) < 5


def test_a_temperature_changes_no_answer_and_lowers_the_loss():
    logits = rng.normal(size=(3000, 4)) * 6
    labels = drawn(SINGLE_LABEL.probabilities(logits / 4))
    found = calibration.temperature([logits], labels, SINGLE_LABEL)
    (after,) = calibration.divided([logits], found)
    assert (after.argmax(1) == logits.argmax(1)).all()
    old, new = (calibration.reliability(each, labels, SINGLE_LABEL) for each in (logits, after))
    assert new["loss"] < old["loss"]
    assert new["ece"] < 0.05 < old["ece"]
    assert sum(count for *_, count in new["bins"]) == 3000


def test_fits_are_compared_as_they_are_once_calibrated():
    answers = rng.normal(size=(500, 4)) * 2
    labels = drawn(SINGLE_LABEL.probabilities(answers))
    sure, noisy = 10 * answers, answers + rng.normal(size=answers.shape)
    plain = [SINGLE_LABEL.log_losses(each, labels).mean() for each in (sure, noisy)]
    found = [calibration.losses(each, labels, SINGLE_LABEL) for each in (sure, noisy)]
    assert plain[0] > plain[1]
    assert found[0].mean() < found[1].mean()
    assert found[0].mean() == pytest.approx(SINGLE_LABEL.log_losses(answers, labels).mean(), abs=0.01)
    assert found[0].shape == (500,)


def test_of_many_images_some_say_at_which_temperature_all_are_compared(monkeypatch):
    logits, seen = rng.normal(size=(5000, 3)), []
    labels = drawn(SINGLE_LABEL.probabilities(logits))
    monkeypatch.setattr(
        calibration, "temperature", lambda logits, labels, task, **spread: seen.append(len(labels)) or 2.0
    )
    found = calibration.losses(logits, labels, SINGLE_LABEL)
    assert seen == [1667]
    assert np.allclose(found, SINGLE_LABEL.log_losses(logits / 2, labels))
