import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binomtest, sem, t
from sklearn import metrics as sklearn_metrics

from transferkit import metrics
from transferkit.tasks import SINGLE_LABEL


@pytest.fixture
def judged():
    rng = np.random.default_rng(0)
    return rng.normal(size=(200, 4)), rng.integers(0, 4, 200)


def test_scores_agree_with_scikit_learn(judged):
    logits, labels = judged
    scores = SINGLE_LABEL.scores(logits, labels)
    assert scores["accuracy"] == sklearn_metrics.accuracy_score(labels, logits.argmax(1))
    assert scores["loss"] == pytest.approx(sklearn_metrics.log_loss(labels, metrics.softmax(logits)))
    assert scores["confusion"] == sklearn_metrics.confusion_matrix(labels, logits.argmax(1)).tolist()
    assert scores["n"] == 200


@pytest.mark.parametrize("num_classes", [2, 4, 9])
def test_scores_of_classes_and_their_means_agree_with_scikit_learn(num_classes):
    rng = np.random.default_rng(num_classes)
    logits, labels = rng.normal(size=(60, num_classes)), rng.integers(0, num_classes, 60)
    logits[np.arange(60), labels] += rng.random(60) * 2
    logits[:, -1] -= 9 * (num_classes == 9)  # a class that is never named
    predicted, scores = logits.argmax(1), SINGLE_LABEL.scores(logits, labels)
    assert scores["balanced_accuracy"] == pytest.approx(sklearn_metrics.balanced_accuracy_score(labels, predicted))
    each = sklearn_metrics.precision_recall_fscore_support(labels, predicted, zero_division=0)
    for k, found in enumerate(scores["per_class"]):
        assert (found["precision"] or 0.0, found["recall"], found["f1"], found["images"]) == pytest.approx(
            [figures[k] for figures in each]
        )
    for name, values in zip(("macro_precision", None, "macro_f1"), each):
        if name:
            assert scores[name] == pytest.approx(values.mean())
    assert ("top5" in scores, "roc_auc" in scores) == (num_classes > 5, num_classes == 2)
    if num_classes > 5:
        expected = sklearn_metrics.top_k_accuracy_score(labels, logits, k=5)
        assert scores["top5"] == expected
    if num_classes == 2:
        assert scores["roc_auc"] == pytest.approx(sklearn_metrics.roc_auc_score(labels, softmax(logits, 1)[:, 1]))


def test_a_class_that_no_image_has_counts_in_no_mean(judged):
    logits, labels = judged
    labels = labels % 3
    scores = SINGLE_LABEL.scores(logits, labels)
    recalls = sklearn_metrics.recall_score(labels, logits.argmax(1), labels=[0, 1, 2], average=None)
    assert scores["balanced_accuracy"] == pytest.approx(recalls.mean())
    assert scores["per_class"][3]["recall"] is scores["per_class"][3]["f1"] is None


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_the_area_under_the_roc_curve_agrees_with_scikit_learn_where_scores_are_equal_too(levels):
    rng = np.random.default_rng(levels)
    labels = rng.random(80) < 0.3
    scores = rng.integers(0, levels, 80) + labels
    assert metrics.roc_auc(scores, labels) == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores))
    assert metrics.roc_auc(scores, labels | True) is metrics.roc_auc(scores, labels & False) is None


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (145, 153), (1, 1)])
def test_the_wilson_interval_agrees_with_scipy(hits, n):
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert metrics.wilson_interval(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_images_that_all_stand_alone_have_the_interval_of_wilson():
    right = np.arange(20) < 15
    alone = metrics.units(np.array(["a", *[""] * 18, "b"]))
    assert sorted(alone) == list(range(20))
    assert metrics.share_interval(right) == metrics.share_interval(right, alone) == metrics.wilson_interval(15, 20)
    assert "groups" not in SINGLE_LABEL.scores(np.eye(2)[[0] * 20], 1 - right, np.array([""] * 20))


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_groups_that_are_right_or_wrong_as_a_whole_tell_as_much_as_an_image_each(share):
    """The interval is that of so many images by the t distribution, as a reading of Wilson's formula gives it."""
    count, unit = 40, np.repeat(np.arange(40), 5)
    right = unit < share * count
    low, high = metrics.share_interval(right, unit)
    z, n = t.ppf(0.975, count - 1), count - 1  # an unbiased variance is of one group less
    for end in (low, high):
        assert abs(end - share) == pytest.approx(z * np.sqrt(end * (1 - end) / n))
    scores = SINGLE_LABEL.scores(np.eye(2)[[0] * 200], np.where(right, 0, 1), np.array([f"g{k}" for k in unit]))
    assert (scores["groups"], scores["interval"]) == (40, [low, high])


def test_where_all_is_right_a_group_tells_no_more_than_an_image():
    unit = np.repeat(np.arange(6), 50)
    assert metrics.share_interval(np.ones(300, bool), unit) == metrics.wilson_interval(6, 6)
    assert metrics.share_interval(np.arange(9) < 8, np.zeros(9, int))[0] < 0.5  # of one group nothing is known


@pytest.mark.parametrize(("share", "alike"), [(0.8, 0.01), (0.8, 0.6), (0.93, 0.2)])
def test_the_interval_of_groups_holds_the_true_share_in_95_of_100(share, alike):
    rng, held = np.random.default_rng(0), []
    for _ in range(500):
        of_group = rng.beta(share * (1 - alike) / alike, (1 - share) * (1 - alike) / alike, 60)
        unit = np.repeat(np.arange(60), 1 + rng.poisson(4, 60))
        low, high = metrics.share_interval(rng.random(len(unit)) < of_group[unit], unit)
        held.append(low <= share <= high)
    assert 0.92 <= np.mean(held) <= 0.98


def test_the_log_loss_of_huge_logits_is_finite():
    assert np.isfinite(metrics.log_losses(np.array([[1e5, -1e5]]), np.array([1]))).all()


def test_a_candidate_must_win_by_more_than_one_standard_error():
    labels = np.zeros(50, int)
    sure = np.tile([2.0, 0.0], (50, 1))
    of = metrics.log_losses
    assert metrics.is_better(of(sure * 2, labels), of(sure, labels))
    assert not metrics.is_better(of(sure, labels), of(sure, labels))
    lucky = sure.copy()
    lucky[0], lucky[1] = [20.0, 0.0], [1.9, 0.0]  # the mean gain is within one standard error
    assert not metrics.is_better(of(lucky, labels), of(sure, labels))


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("scale", [1, 1e4])
def test_softmax_is_that_of_scipy_along_the_last_axis_however_large_the_logits(shape, scale):
    logits = np.random.default_rng(0).normal(size=shape) * scale
    assert np.allclose(metrics.softmax(logits), softmax(logits, axis=-1))


def test_classes_that_nobody_has_and_nobody_predicts_are_counted_too(judged):
    logits, labels = judged
    logits[:, 2:] -= 100
    wider = np.hstack([logits, np.full((200, 1), -100.0)])
    expected = sklearn_metrics.confusion_matrix(labels % 2, logits.argmax(1), labels=range(5))
    assert SINGLE_LABEL.scores(wider, labels % 2)["confusion"] == expected.tolist()


def test_of_no_image_nothing_is_known():
    assert metrics.wilson_interval(0, 0) == (0.0, 1.0)


def test_an_interval_is_one_of_shares():
    ends = [metrics.wilson_interval(hits, n) for n in range(1, 3000) for hits in (0, n)]
    assert min(low for low, _ in ends) == 0
    assert max(high for _, high in ends) == 1


@pytest.mark.parametrize("seen", [[], range(200), [7], range(10, 200)])
def test_scores_without_what_was_seen_are_those_of_the_rest(judged, seen):
    logits, labels = judged
    is_seen = np.isin(np.arange(200), seen)
    found = SINGLE_LABEL.seen_scores(logits, labels, is_seen)
    assert found["seen"] == len(seen)
    if len(seen) in (0, 200):
        assert found["unseen"] is None
    else:
        rest = [i for i in range(200) if i not in seen]
        expected = binomtest(int((logits.argmax(1) == labels)[rest].sum()), len(rest))
        assert found["unseen"]["accuracy"] == expected.statistic
        assert found["unseen"]["n"] == len(rest)
        interval = expected.proportion_ci(method="wilson")
        assert found["unseen"]["interval"] == pytest.approx([interval.low, interval.high], abs=1e-6)


@pytest.mark.parametrize("n", [2, 3, 4, 20])
@pytest.mark.parametrize("times", [0.98, 1.02])
def test_the_standard_error_that_a_candidate_must_win_by_is_that_of_scipy(n, times):
    noise = np.random.default_rng(n).normal(size=n)
    gains = noise - noise.mean() + times * sem(noise)  # mean and standard error as wanted
    assert metrics.is_better(np.full(n, 10.0), 10 + gains) == (times > 1)


def test_one_image_decides_nothing():
    assert not metrics.is_better(np.array([0.1]), np.array([9.0]))


@pytest.mark.parametrize("n", [1, 7, 49, 50, 120, 1000, 1003])
def test_the_calibration_error_is_the_mean_gap_of_bins_of_equally_many_answers(n):
    rng = np.random.default_rng(n)
    confidence, right = rng.permutation(np.linspace(0.3, 1, n)), rng.random(n) < 0.8
    rank, bins = np.argsort(np.argsort(confidence)), {1: 1, 7: 1, 49: 1, 50: 2, 120: 4, 1000: 10, 1003: 10}[n]
    places = np.array_split(range(n), bins)
    assert max(map(len, places)) - min(map(len, places)) <= 1
    gaps = [abs((confidence - right)[np.isin(rank, place)].sum()) / n for place in places]
    assert metrics.calibration_error(confidence, right) == pytest.approx(sum(gaps))
    assert metrics.reliability(confidence, right)[:, 0].tolist() == [len(place) for place in places]


def test_the_calibration_error_of_a_known_distortion_is_its_size():
    rng = np.random.default_rng(0)
    share = rng.uniform(0.5, 0.9, 100_000)
    right = rng.random(100_000) < share
    assert metrics.calibration_error(share, right) < 0.005
    assert metrics.calibration_error(share + 0.1, right) == pytest.approx(0.1, abs=0.005)
    assert metrics.calibration_error(share - 0.05, right) == pytest.approx(0.05, abs=0.005)


def test_answers_that_are_equally_sure_are_judged_in_no_order():
    confidence, right = np.repeat([0.75, 0.6], 60), np.arange(120) % 60 < 45
    orders = [np.random.default_rng(seed).permutation(120) for seed in range(5)]
    errors = [metrics.calibration_error(confidence[p], right[p]) for p in orders]
    assert errors == pytest.approx([0.075] * 5)  # 0.75 of each are right
    assert metrics.calibration_error(np.ones(3), np.ones(3, bool)) == 0
