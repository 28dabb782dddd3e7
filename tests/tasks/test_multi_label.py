"""Several labels an image: losses, scores and thresholds are those of torch, scikit-learn and a search by hand."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    log_loss,
    precision_recall_curve,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.metrics import precision_recall_fscore_support as by_class
from torch import nn

from transferkit import metrics, tasks
from transferkit.options import Options
from transferkit.tasks import SINGLE_LABEL, MultiLabel
from transferkit.train import probe
from transferkit.train.feature_blocks import Rows, Scale
from transferkit.zoo.errors import UsageError

TASK = MultiLabel()


@pytest.fixture
def judged():
    """Logits that know something of the labels. Shapes: (120, 4) both."""
    rng = np.random.default_rng(0)
    labels = rng.random((120, 4)) < [0.5, 0.3, 0.2, 0.1]
    return rng.normal(size=(120, 4)) + 1.5 * labels - 0.5, labels


def test_scores_are_those_of_scikit_learn(judged):
    logits, labels = judged
    scores, p = TASK.scores(logits, labels), TASK.probabilities(logits)
    assert np.allclose(p, 1 / (1 + np.exp(-logits)))
    assert scores["accuracy"] == accuracy_score(labels, p > 0.5)
    assert scores["mAP"] == pytest.approx(average_precision_score(labels, logits, average="macro"))
    assert scores["loss"] == pytest.approx(np.mean([log_loss(labels[:, k], p[:, k]) for k in range(4)]))
    assert [scores[f"{average}_f1"] for average in ("micro", "macro")] == pytest.approx(
        [f1_score(labels, p > 0.5, average=average) for average in ("micro", "macro")]
    )
    assert scores["roc_auc"] == pytest.approx(roc_auc_score(labels, p))
    assert scores["macro_precision"] == pytest.approx(precision_score(labels, p > 0.5, average="macro"))
    assert scores["macro_recall"] == pytest.approx(recall_score(labels, p > 0.5, average="macro"))
    assert scores["ece"] == metrics.calibration_error(p.ravel(), labels.ravel())
    expected = by_class(labels, p > 0.5)
    for name, values in zip(("precision", "recall", "f1", "images"), expected):
        assert [one[name] for one in scores["per_class"]] == pytest.approx(values.tolist())
    assert TASK.measured(logits, labels) == pytest.approx({key: scores[key] for key in ("loss", "accuracy", "mAP")})


def test_a_class_that_no_image_has_counts_for_nothing(judged):
    logits, labels = judged
    wider = TASK.scores(np.hstack([logits, logits[:, :1]]), np.hstack([labels, np.zeros((120, 1), bool)]))
    known = TASK.scores(logits, labels)
    assert (wider["mAP"], wider["macro_f1"]) == pytest.approx((known["mAP"], known["macro_f1"]))
    assert wider["per_class"][4]["ap"] is None
    assert wider["per_class"][4]["recall"] is None
    none = TASK.scores(logits, np.zeros((120, 4), bool))
    assert (none["mAP"], none["macro_f1"], none["micro_f1"], none["roc_auc"]) == (0, 0, 0, None)
    assert wider["roc_auc"] == pytest.approx(known["roc_auc"])


def test_thresholds_have_the_highest_f1_of_all_and_decide_what_is_said(judged):
    logits, labels = judged
    chosen, p = TASK.chosen_on(logits, labels), TASK.probabilities(logits)
    for k, threshold in enumerate(chosen.thresholds):
        assert f1_score(labels[:, k], p[:, k] > threshold) == pytest.approx(highest_f1(labels[:, k], p[:, k]))
        assert threshold not in p[:, k]
    scores = chosen.scores(logits, labels)
    assert scores["macro_f1"] == pytest.approx(f1_score(labels, p > chosen.thresholds, average="macro"))
    assert scores["accuracy"] == accuracy_score(labels, p > chosen.thresholds)
    for row in p[:20]:
        said = chosen.said(row)
        assert {k for k, _ in said} == {k for k in range(4) if row[k] > chosen.thresholds[k]}
        assert [probability for _, probability in said] == sorted((p for _, p in said), reverse=True)


def highest_f1(labels, p):
    """Of all thresholds."""
    precision, recall, _ = precision_recall_curve(labels, p)
    return (2 * precision * recall / np.maximum(precision + recall, 1e-9)).max()


@pytest.mark.parametrize("seed", range(20))
def test_of_few_images_all_may_be_named_or_one(seed):
    rng = np.random.default_rng(seed)
    labels, logits = rng.permutation(np.arange(4) <= seed % 3), rng.choice([-1.0, 0.0, 1.0, 2.0], 4)
    (threshold,) = TASK.chosen_on(logits[:, None], labels[:, None]).thresholds
    p = TASK.probabilities(logits)
    assert f1_score(labels, p > threshold) == pytest.approx(highest_f1(labels, p))
    assert 0 < threshold < 1


def test_a_class_that_no_threshold_finds_has_that_of_one_of_which_nothing_is_known():
    labels, logits = np.array([[False], [True]]), np.array([[2.0], [-1000.0]])
    assert TASK.chosen_on(logits, labels).thresholds == (0.5,)


def test_a_threshold_parts_no_equal_probabilities():
    logits, labels = np.array([[2.0], [2.0], [0.0], [-1.0]]), np.array([[True], [False], [False], [False]])
    (threshold,) = TASK.chosen_on(logits, labels).thresholds
    assert threshold == pytest.approx((TASK.probabilities(np.array(2.0)) + 0.5) / 2)


def test_a_threshold_of_which_validation_says_nothing_is_a_half():
    labels = np.array([[True, False, True], [True, False, False]])
    chosen = TASK.chosen_on(np.array([[3.0, -3.0, 1.0], [2.0, 3.0, -1.0]]), labels)
    assert chosen.thresholds == pytest.approx((0.5, 0.5, 0.5))


@pytest.mark.parametrize("weights", [None, np.array([1.0, 5.0, 0.5])])
def test_the_loss_is_binary_cross_entropy_with_positive_weights_and_smoothing(weights):
    logits, labels = torch.randn(8, 3), torch.rand(8, 3) < 0.4
    weight = None if weights is None else torch.from_numpy(weights).float()
    ours = TASK.criterion(weights, label_smoothing=0.2, device="cpu")(logits, labels)
    expected = nn.BCEWithLogitsLoss(pos_weight=weight)(logits, labels.float() * 0.8 + 0.1)
    assert ours.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("positive", [1.0, 4.0])
def test_the_slope_of_the_probe_is_that_of_autograd(positive):
    logits, labels = torch.randn(9, 4, requires_grad=True), torch.rand(9, 4) < 0.4
    shares = TASK.shares(labels.numpy(), torch.full((4,), positive), views=2)
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.full((4,), positive), reduction="sum")(logits, labels.float()) / 18
    loss.backward()
    value, slope = TASK.slope(logits.detach().clone(), labels, shares)
    assert value == pytest.approx(loss.item(), rel=1e-5)
    assert torch.allclose(slope, logits.grad, atol=1e-7)


def test_the_probe_is_scikit_learns_logistic_regression_of_each_class_against_the_rest(judged):
    _, labels = judged
    x = (np.random.default_rng(1).normal(size=(120, 6)) + labels[:, [0, 0, 1, 1, 2, 3]]).astype(np.float32)
    rows = Rows(views=(x,), rows=np.arange(120), labels=labels, task=TASK)
    found = probe.fit(rows, 0.01, class_weights=torch.ones(4))
    scale = Scale.of(rows.blocks(4))
    scaled = (x - scale.mean.numpy()) / scale.deviation.numpy()
    for k in range(4):
        sklearn = LogisticRegression(C=1 / (2 * 0.01 * 120), tol=1e-8, max_iter=1000).fit(scaled, labels[:, k])
        ours = found.logits(torch.from_numpy(x))[:, k].numpy()
        assert np.allclose(ours, sklearn.decision_function(scaled), atol=0.02)


def test_rare_classes_count_as_many_times_as_there_are_images_without_them():
    labels = np.array([[True, True], [False, True], [False, True], [False, True]])
    assert TASK.class_weights(labels, 2).tolist() == [3.0, 0.25]


def test_the_mean_of_members_is_that_of_their_probabilities():
    p = [np.array([[0.2, 0.9]]), np.array([[0.6, 0.7]])]
    assert TASK.probabilities(TASK.mean([TASK.logits(one) for one in p])) == pytest.approx(np.array([[0.4, 0.8]]))
    assert np.isfinite(TASK.logits(np.array([0.0, 1.0]))).all()


def test_thresholds_follow_their_classes_and_a_joint_model_has_the_mean():
    one, other = MultiLabel(thresholds=(0.2, 0.4)), MultiLabel(thresholds=(0.6, 0.5))
    assert one.reordered([1, 0]).thresholds == (0.4, 0.2)
    assert one.joined([one, other.reordered([1, 0])]).thresholds == pytest.approx((0.35, 0.5))
    assert one.joined([one, TASK]).thresholds == ()


def test_labels_are_renumbered_by_name():
    assert TASK.renumbered(np.array([[True, False]]), [2, 0], 3).tolist() == [[False, False, True]]
    assert SINGLE_LABEL.renumbered(np.array([0, 1]), [2, 0], 3).tolist() == [2, 0]


def test_drawing_every_class_equally_often_is_refused():
    with pytest.raises(UsageError, match="use --balance weights"):
        TASK.check(Options(data="x", balance="sampler"))


@pytest.mark.parametrize(
    ("name", "thresholds", "reason"),
    [
        ("multi-label", (0.5,), "2 thresholds"),
        ("multi-label", (0.5, 1.0), "between 0 and 1"),
        ("single-label", (0.5, 0.5), "no thresholds"),
        ("regression", (), "'regression' is unknown; known: single-label, multi-label"),
    ],
)
def test_a_task_that_does_not_fit_is_refused(name, thresholds, reason):
    with pytest.raises(ValueError, match=reason):
        tasks.read(name, thresholds, num_classes=2)
    assert tasks.read("multi-label", (0.5, 0.1), num_classes=2) == MultiLabel(thresholds=(0.5, 0.1))
