import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from transferkit.data import split
from transferkit.train import probe


@pytest.fixture(scope="module")
def wine():
    x, y = load_wine(return_X_y=True)
    return torch.from_numpy(x).float(), torch.from_numpy(y)


@pytest.mark.parametrize("l2", [1.0, 0.01])
def test_the_probe_is_scikit_learns_logistic_regression(wine, l2):
    x, y = wine
    found = probe.fit(x, y, l2)
    scaled = StandardScaler().fit_transform(x.double().numpy())
    oracle = LogisticRegression(C=1 / (2 * l2 * len(y)), tol=1e-10, max_iter=5000).fit(scaled, y)
    ours = found.logits(x).softmax(1).numpy()
    assert np.abs(ours - oracle.predict_proba(scaled)).max() < 2e-3


def test_a_weighted_probe_is_scikit_learns_balanced_one(wine):
    x, y = wine
    rows = torch.cat([torch.where(y == 0)[0], torch.where(y == 1)[0][:10]])
    weights = len(rows) / (2 * torch.bincount(y[rows], minlength=2).float())
    ours = probe.fit(x[rows], y[rows], 0.1, class_weights=weights).logits(x[rows]).softmax(1).numpy()
    scaled = StandardScaler().fit_transform(x[rows].double().numpy())
    # two columns share one difference of weights, whose square is twice the sum of theirs
    oracle = LogisticRegression(C=1 / (0.1 * len(rows)), class_weight="balanced", tol=1e-10, max_iter=5000)
    assert np.abs(ours - oracle.fit(scaled, y[rows]).predict_proba(scaled)).max() < 2e-3


def test_a_constant_feature_changes_nothing(wine):
    x, y = wine
    wider = torch.cat([x, torch.full((len(x), 1), 7.0)], dim=1)
    assert torch.allclose(probe.fit(wider, y, 0.1).logits(wider), probe.fit(x, y, 0.1).logits(x), atol=1e-3)


def test_the_chosen_l2_has_the_least_held_out_loss_of_the_path(wine):
    x, y = wine
    lines = []
    folds = split.folds(y.numpy(), 5, seed=0)
    choice = probe.choose_l2(x, y, folds, judged=len(y), class_weights=torch.ones(3), on_value=lines.append)
    losses = {line["l2"]: line["val"]["loss"] for line in lines}
    assert choice.l2 == min(losses, key=losses.get)
    assert all(line["phase"] == "probe" and line["lr"] is None for line in lines)
    assert (choice.logits.argmax(1) == y.numpy()).mean() > 0.95


def test_held_out_logits_come_from_a_fit_without_the_image(wine):
    x, y = wine
    folds = split.folds(y.numpy(), 5, seed=0)
    choice = probe.choose_l2(x, y, folds, judged=len(y), class_weights=torch.ones(3), on_value=lambda line: None)
    train = torch.from_numpy(folds != 2)
    alone = probe.fit(x[train], y[train], choice.l2).logits(x[~train]).softmax(1)
    assert torch.allclose(torch.from_numpy(choice.logits[folds == 2]).softmax(1).float(), alone, atol=2e-2)
