"""What decides whether answers are averaged over mirror images."""

import numpy as np
import pytest
from scipy import stats

from transferkit.tasks import SINGLE_LABEL, MultiLabel
from transferkit.train import mirror_trial
from transferkit.trust import calibration


def compared(task=SINGLE_LABEL, *, better, n=30):
    """The block of a comparison, and the gains in log loss."""
    rng = np.random.default_rng(0)
    plain, averaged = rng.normal(size=(2, n, 3)).astype(np.float32)
    labels = rng.integers(0, 3, n) if task.names_one else rng.random((n, 3)) < 0.5
    truth = np.eye(3)[labels] if task.names_one else 2 * labels - 1
    plain, averaged = plain + truth, averaged + (2 if better else 0) * truth
    return mirror_trial.compare(plain, averaged, labels, task), (
        calibration.losses(plain, labels, task) - calibration.losses(averaged, labels, task)
    )


@pytest.mark.parametrize("task", [SINGLE_LABEL, MultiLabel()])
def test_the_average_is_used_if_its_log_loss_is_lower(task):
    for better in (True, False):
        block, gains = compared(task, better=better)
        assert block["used"] is better
        assert block["gain"] == pytest.approx(gains.mean())
        assert block["loss"]["plain"] - block["loss"]["averaged"] == pytest.approx(block["gain"])
        assert block["interval"] == pytest.approx(stats.norm.interval(0.95, gains.mean(), stats.sem(gains)), abs=1e-4)
        assert mirror_trial.note(block).startswith(f"mirror averaging is {'' if better else 'not '}used")


def test_one_image_has_no_interval():
    block, _ = compared(better=True, n=1)
    assert block["interval"] is None
    assert mirror_trial.note(block).endswith("on 1 images")


def test_equal_answers_are_not_worth_twice_the_time():
    logits, labels = np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1])
    assert not mirror_trial.compare(logits, logits, labels, SINGLE_LABEL)["used"]


def test_answers_that_are_merely_less_sure_are_not_worth_it():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    plain = rng.normal(size=(200, 3)) + 2 * np.eye(3)[labels]
    block = mirror_trial.compare(8 * plain, 2 * plain + 0.5 * rng.normal(size=plain.shape), labels, SINGLE_LABEL)
    assert not block["used"]
