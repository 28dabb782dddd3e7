"""What accuracies stand beside: the neighbours are those of scikit-learn, the commonest answer is counted by hand."""

import numpy as np
import pytest
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from transferkit import baselines, messages
from transferkit.data.listing import Listing, PathTable
from transferkit.model.features import Features
from transferkit.tasks import SINGLE_LABEL, MultiLabel
from transferkit.train.first_pass import FirstPass

CLASSES = ("ant", "bee", "cat")


def first_pass(labels, parts, features, *, groups=None, sha256=None):
    task = MultiLabel() if labels.ndim == 2 else SINGLE_LABEL
    listing = Listing(
        source="x",
        paths=PathTable.from_paths(f"{row}.png" for row in range(len(labels))),
        labels=labels,
        parts=np.array(parts),
        classes=CLASSES,
        task=task,
        groups=groups,
    )
    return FirstPass(
        listing=listing,
        features=None if features is None else Features(views=(features.astype(np.float32),)),
        bytes=[1] * len(labels),
        sha256=sha256 or [f"{row:064x}" for row in range(len(labels))],
        quarantine=[],
    )


def drawn(count, *, seed=0):
    """Labels, and features that know something of them. Shapes: (N,), (N, 6)."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, count, p=[0.2, 0.5, 0.3])
    return labels, rng.normal(size=(count, 6)) * rng.uniform(0.5, 3, (count, 1)) + 2 * np.eye(6)[labels]


def one_nearest():
    return KNeighborsClassifier(1, metric="cosine", algorithm="brute")


@pytest.mark.parametrize("count", [60, 6500])  # one block of similarities, and several
def test_test_images_are_answered_by_the_most_similar_image_that_may_train(count):
    labels, features = drawn(count)
    parts = np.array(["train", "val", "test"])[np.arange(count) % 3]
    found = baselines.of(first_pass(labels, parts, features), np.flatnonzero(parts == "test"))
    fitted, test = parts != "test", parts == "test"
    expected = one_nearest().fit(features[fitted], labels[fitted]).score(features[test], labels[test])
    assert found["nearest"] == {"accuracy": pytest.approx(expected, abs=2 / count), "n": test.sum()}
    most = np.bincount(labels[fitted]).argmax()
    assert found["commonest"] == {"label": CLASSES[most], "accuracy": pytest.approx((labels[test] == most).mean())}


def test_an_image_that_may_train_is_answered_by_one_of_another_group():
    labels, features = drawn(90)
    parts, group = np.array(["train", "val"])[np.arange(90) % 2], np.arange(90) // 3
    features += 5 * np.random.default_rng(1).normal(size=(30, 6))[group]  # a group looks alike
    taken = first_pass(labels, parts, features, groups=np.array([f"g{k}" for k in group]))
    expected = cross_val_predict(one_nearest(), features, labels, groups=group, cv=LeaveOneGroupOut()) == labels
    for rows in (np.arange(90), np.flatnonzero(parts == "val")):
        assert baselines.of(taken, rows)["nearest"]["accuracy"] == pytest.approx(expected[rows].mean())


def test_copies_do_not_answer_for_each_other_in_training_but_do_for_test_images_as_they_do_for_the_network():
    labels, features = drawn(40)
    double, hashes = np.tile(features, (2, 1)), [f"{row % 40:064x}" for row in range(80)]
    taken = first_pass(np.tile(labels, 2), ["train"] * 80, double, sha256=hashes)
    alone = baselines.of(first_pass(labels, ["train"] * 40, features), np.arange(40))
    assert baselines.of(taken, np.arange(80))["nearest"]["accuracy"] == alone["nearest"]["accuracy"] < 1
    leaked = first_pass(np.tile(labels, 2), ["train"] * 40 + ["test"] * 40, double, sha256=hashes)
    assert baselines.of(leaked, np.arange(40, 80))["nearest"]["accuracy"] == 1


def test_where_all_would_take_too_long_every_nth_is_judged(monkeypatch):
    labels, features = drawn(50)
    monkeypatch.setattr(baselines, "MOST_WORK", 50 * 50 * 6 / 4)
    found = baselines.of(first_pass(labels, ["train"] * 50, features), np.arange(50))
    expected = cross_val_predict(one_nearest(), features, labels, cv=LeaveOneGroupOut(), groups=np.arange(50)) == labels
    assert found["nearest"] == {"accuracy": expected[::4].mean(), "n": 13}
    words = messages.baseline_words({"n": 50, "baselines": found}, names_one=True)
    assert words.endswith(f", nearest neighbour {100 * expected[::4].mean():.1f} % of 13")


def test_the_answer_where_an_image_has_several_labels_is_all_of_them():
    labels = np.array([[1, 0, 1], [1, 0, 1], [0, 0, 0], [1, 0, 1], [0, 1, 0]], bool)
    features = np.array([[1, 0], [1, 0.1], [0, 1], [-1, 0], [0.1, 1]])
    found = baselines.of(first_pass(labels, ["train"] * 3 + ["test"] * 2, features), np.array([3, 4]))
    assert found["commonest"] == {"label": "ant|cat", "accuracy": 0.5}
    assert found["nearest"] == {"accuracy": 0.0, "n": 2}
    words = messages.baseline_words({"n": 2, "baselines": found}, names_one=False)
    assert words == "commonest labels 50.0 %, nearest neighbour 0.0 %"


def test_without_features_or_another_group_there_is_no_neighbour_to_ask():
    labels, features = drawn(9)
    missing = features.copy()
    missing[:3] = np.nan  # not computed

    def neighbours(features, **about):
        return baselines.of(first_pass(labels, ["train"] * 9, features, **about), np.arange(9))["nearest"]

    assert neighbours(None) is None
    assert neighbours(features, groups=np.array(["one"] * 9)) is None
    assert neighbours(missing)["n"] == 6
    assert neighbours(np.zeros((9, 4)))["n"] == 9
