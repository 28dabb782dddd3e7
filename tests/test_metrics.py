import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sklearn_metrics

from transferkit import metrics


@pytest.fixture
def judged():
    rng = np.random.default_rng(0)
    return rng.normal(size=(200, 4)), rng.integers(0, 4, 200)


def test_scores_agree_with_scikit_learn(judged):
    logits, labels = judged
    scores = metrics.scores(logits, labels)
    assert scores["accuracy"] == sklearn_metrics.accuracy_score(labels, logits.argmax(1))
    assert scores["loss"] == pytest.approx(sklearn_metrics.log_loss(labels, metrics.softmax(logits)))
    assert scores["confusion"] == sklearn_metrics.confusion_matrix(labels, logits.argmax(1)).tolist()
    assert scores["n"] == 200


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (145, 153), (1, 1)])
def test_the_wilson_interval_agrees_with_scipy(hits, n):
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert metrics.wilson_interval(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_log_loss_of_huge_logits_is_finite():
    assert np.isfinite(metrics.log_losses(np.array([[1e5, -1e5]]), np.array([1]))).all()


def test_a_candidate_must_win_by_more_than_one_standard_error():
    labels = np.zeros(50, int)
    sure = np.tile([2.0, 0.0], (50, 1))
    assert metrics.is_better(sure * 2, sure, labels)
    assert not metrics.is_better(sure, sure, labels)
    lucky = sure.copy()
    lucky[0], lucky[1] = [20.0, 0.0], [1.9, 0.0]  # the mean gain is within one standard error
    assert not metrics.is_better(lucky, sure, labels)
