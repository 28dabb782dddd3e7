import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from transferkit.config import FinetuneConfig
from transferkit.messages import Reporter
from transferkit.model.features import Features
from transferkit.model.head import linear_head
from transferkit.train import head, loop, optim, probe
from transferkit.train.context import FitContext
from transferkit.train.feature_blocks import Rows
from transferkit.train.loop import Examples, Plan
from transferkit.train.problem import Hyperparameters, Problem
from transferkit.train.schedule import Schedule


@pytest.fixture
def features():
    """Two overlapping clouds in five dimensions of very different scale, each point seen twice with noise."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    plain = (rng.normal(size=(80, 5)) + 1.2 * labels[:, None]) * [1, 10, 0.1, 5, 2] + [0, 100, 3, 0, -7]
    mirrored = plain + rng.normal(size=plain.shape) * 0.05
    return Features(views=(plain.astype(np.float32), mirrored.astype(np.float32))), labels


def supplied(scaled, rows, *, epoch):
    return next(iter(scaled.loader([rows], epoch)))[0]


def fit(*views, labels, l2):
    rows = Rows(views=views, rows=np.arange(len(labels)), labels=labels)
    return probe.fit(rows, l2, class_weights=torch.ones(2))


def test_a_head_on_standardised_features_is_the_same_head_on_raw_ones(features):
    features, _ = features
    scaled = head.standardise(features, np.arange(60))
    layer = linear_head(5, 2, seed=3)
    everyone = np.arange(80)
    expected = layer(supplied(scaled, everyone, epoch=0))
    assert torch.allclose(scaled.for_raw(layer).logits(torch.from_numpy(features.plain[everyone])), expected, atol=1e-4)


def test_features_have_mean_0_and_deviation_1_over_both_views_of_the_training_images(features):
    features, _ = features
    scaled = head.standardise(features, np.arange(60))
    both = torch.cat([supplied(scaled, np.arange(60), epoch=epoch) for epoch in (0, 1)]).numpy()
    assert both.mean(0) == pytest.approx(0, abs=1e-4)
    assert both.std(0) == pytest.approx(1, abs=1e-4)


def test_even_epochs_see_the_images_odd_ones_their_mirror_images_and_validation_the_images(features):
    features, _ = features
    scaled = head.standardise(features, np.arange(80))
    rows = np.array([3, 5])
    both = np.concatenate([features.plain, features.views[1]]).astype(np.float64)
    for epoch in (0, 1, 2, None):
        view = features.views[1] if epoch == 1 else features.plain
        expected = (view[rows] - both.mean(0)) / both.std(0)
        assert supplied(scaled, rows, epoch=epoch).numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "optimizer", ["adam", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sgd", "momentum"))]
)  # the steps of each are those of its formula: tests/train/test_optim.py
def test_a_head_of_many_features_under_strong_l2_comes_to_the_minimum_of_loss_and_l2(optimizer):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 60)
    plain = (rng.normal(size=(120, 300)) + 0.6 * labels[:, None]).astype(np.float32)
    features, rows, l2 = Features(views=(plain, plain)), np.arange(120), 0.1
    exact = fit(plain, labels=labels, l2=l2)
    scaled = head.standardise(features, rows)
    layer = linear_head(300, 2)
    config_given = FinetuneConfig(data="", strategy="probe", optimizer=optimizer, l2=l2, epochs=60)
    config = config_given.resolved(images=120, are_few=True)
    made = optim.make(optimizer, optim.groups_of(layer.parameters(), lr=config.lr, l2=l2))
    examples = Examples(rows=rows, labels=labels, num_classes=2)
    list(loop.train_epochs(layer, made, scaled.loader, examples, config_given.chosen_strategy.plan(config)))
    found = scaled.for_raw(layer)
    deviation = torch.from_numpy(plain).std(0, correction=0)
    size, expected = ((each.weight * deviation).square().sum().item() for each in (found, exact))
    assert size == pytest.approx(expected, rel=0.05)  # clipped at norm 1, sums of squares were a third smaller


@pytest.mark.parametrize(
    "optimizer", ["momentum", *(pytest.param(name, marks=pytest.mark.slow) for name in ("nesterov", "adam"))]
)
def test_mini_batches_come_to_the_minimum_that_l_bfgs_finds(features, optimizer):
    features, labels = features
    rows, l2 = np.arange(80), 0.02
    exact = fit(features.plain, features.views[1], labels=labels, l2=l2)
    scaled = head.standardise(features, rows)
    layer = linear_head(5, 2)
    made = optim.make(optimizer, optim.groups_of(layer.parameters(), lr=0.05, l2=l2))
    plan = Plan(epochs=120, batch_size=16, schedule=Schedule(name="cosine", epochs=120))
    examples = Examples(rows=rows, labels=labels, num_classes=2)
    list(loop.train_epochs(layer, made, scaled.loader, examples, plan))
    x = torch.from_numpy(features.plain[rows])
    difference = scaled.for_raw(layer).logits(x) - exact.logits(x)
    margins = difference[:, 1] - difference[:, 0]
    assert margins.abs().max() < 0.05  # of margins that reach from -5 to 5


def solved(features, labels, *, train, val, l2=None, images=None, groups=None):
    """What `fit_probe` finds, and the lines it wrote."""
    lines = []
    parts = tuple(Examples(rows=rows, labels=labels, num_classes=2) for rows in (train, val))
    problem = Problem(
        **dict.fromkeys(("model", "network", "loader")),
        features=features,
        train=parts[0],
        val=parts[1],
        groups=groups,
        context=FitContext(plan=None, patience=1, reporter=Reporter(append=lines.append)),
        hyperparameters=HYPERPARAMETERS,
        are_few=True,
        images=images,
    )
    return head.fit_probe(problem, l2=l2), lines


HYPERPARAMETERS = Hyperparameters(
    optimizer="lbfgs", lr=None, layer_decay=1, l2=None, dropout=0, dropconnect=0, balance="none", seed=0
)
EVEN, ODD = np.arange(0, 80, 2), np.arange(1, 80, 2)


def test_a_given_l2_is_the_one_used_and_no_other_is_tried(features):
    found, lines = solved(*features, train=EVEN, val=ODD, l2=0.3)
    assert found.l2 == 0.3
    assert [line["l2"] for line in lines] == [0.3]


def test_every_image_of_train_and_val_is_judged_by_folds_without_it_and_nothing_more_is_said(features):
    found, _ = solved(*features, train=EVEN[:30], val=ODD[:30], l2=0.3)
    assert found.rows.tolist() == list(range(60))
    assert found.logits.shape == (60, 2)
    assert found.by_cross_validation
    assert not found.note


@pytest.mark.parametrize("limit", [2e8, 0])
def test_mirror_images_are_judged_by_the_same_fits_without_them(features, limit, monkeypatch):
    monkeypatch.setattr(head, "FOLDS_UP_TO", limit)
    features, labels = features
    given = {"train": np.arange(0, 80, 2), "val": np.arange(1, 80, 2), "l2": 0.01, "images": print}
    found, _ = solved(features, labels, **given)
    swapped, _ = solved(Features(views=features.views[::-1]), labels, **given)  # the fits are to both views anyway
    assert found.mirrored == pytest.approx(swapped.logits, abs=1e-3)
    assert np.abs(found.mirrored - found.logits).max() > 0.01
    alone, _ = solved(features, labels, **given | {"images": None})
    assert alone.mirrored is None


def test_images_of_a_group_do_not_vouch_for_each_other():
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, 2, 60), 2)  # every image twice, and nothing in it that tells its class
    plain = np.repeat(rng.normal(size=(60, 200)), 2, axis=0).astype(np.float32)
    features, train, val = Features(views=(plain, plain)), np.arange(100), np.arange(100, 120)
    right = {}
    for name, groups in (("alone", None), ("grouped", np.repeat([f"pair {i}" for i in range(60)], 2))):
        found, _ = solved(features, labels, train=train, val=val, l2=0.01, groups=groups)
        right[name] = (found.logits.argmax(1) == labels).mean()
    assert right["alone"] > 0.8
    assert right["grouped"] < 0.65


def test_of_too_many_images_for_folds_those_of_val_judge_a_fit_to_train(features, monkeypatch):
    monkeypatch.setattr(head, "FOLDS_UP_TO", 0)
    data, labels = features
    found, lines = solved(data, labels, train=EVEN, val=ODD)
    assert found.rows.tolist() == ODD.tolist()
    x, y = np.concatenate([data.plain[EVEN], data.views[1][EVEN]]).astype(np.float64), np.tile(labels[EVEN], 2)
    oracle = LogisticRegression(C=1 / (found.l2 * len(x)), tol=1e-10, max_iter=5000).fit((x - x.mean(0)) / x.std(0), y)
    expected = oracle.predict_proba((data.plain[ODD] - x.mean(0)) / x.std(0))
    assert np.abs(torch.from_numpy(found.logits).softmax(1).numpy() - expected).max() < 5e-3
    assert found.l2 == min(lines, key=lambda line: line["val"]["loss"])["l2"]
    assert "on the 40 validation images" in found.note


def test_folds_judge_up_to_a_limit_of_rows_times_features_times_classes(features, monkeypatch):
    for limit, by_folds in ((160 * 5 * 2, True), (160 * 5 * 2 - 1, False)):  # of two views
        monkeypatch.setattr(head, "FOLDS_UP_TO", limit)
        assert solved(*features, train=EVEN, val=ODD, l2=0.3)[0].by_cross_validation == by_folds


def test_the_logits_that_judge_are_of_as_many_validation_images_as_memory_allows(features, monkeypatch):
    monkeypatch.setattr(head, "FOLDS_UP_TO", 0)
    monkeypatch.setattr(head, "JUDGED_UP_TO", 20)  # logits, of two classes
    found, _ = solved(*features, train=EVEN, val=ODD, l2=0.3)
    assert len(found.rows) == len(found.logits) == 10
    assert set(found.rows) <= set(ODD)
    assert "10 of the 40 validation images" in found.note
