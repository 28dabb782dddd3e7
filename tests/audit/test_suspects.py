"""A label is suspected where another class is as sure of the image as of its own images: confident learning."""

import numpy as np
import pytest

from transferkit.audit import suspects


def answers(seed, n=200, k=4):
    """Probabilities that lean to a class, and labels of which some are another one."""
    random = np.random.default_rng(seed)
    true = random.integers(0, k, n)
    logits = random.normal(size=(n, k)) + 3 * np.eye(k)[true]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels, flipped = true.copy(), random.random(n) < 0.1
    labels[flipped] = (labels[flipped] + 1) % k
    return p, labels, true, flipped


@pytest.mark.parametrize("seed", range(3))
def test_the_suspects_are_those_of_the_definition_of_confident_learning(seed):
    p, labels, _, _ = answers(seed)
    found = suspects.find(np.arange(len(p)), p, labels)
    means = [np.mean([row[k] for row, label in zip(p, labels) if label == k]) for k in range(4)]
    for i, (row, label) in enumerate(zip(p, labels)):
        held = [k for k in range(4) if k != label and row[k] >= means[k] and row[k] > row[label]]
        assert found.is_suspected[i] == bool(held)
        assert found.labels[i] == (max(held, key=lambda k: row[k]) if held else label)
        assert found.suspicion[i] == pytest.approx(np.log(means[label] / row[label]))
        assert found.own[i] == row[label]


@pytest.mark.parametrize("seed", range(3))
def test_flipped_labels_come_first_and_their_suggestion_is_what_they_were(seed):
    p, labels, true, flipped = answers(seed)
    found = suspects.find(np.arange(len(p)), p, labels)
    first = found.order[: round(0.12 * len(p))]
    assert flipped[first].sum() >= 0.8 * min(flipped.sum(), len(first))
    sure = [place for place in found.suspected if flipped[place]]
    assert np.mean(found.labels[sure] == true[sure]) > 0.9
    assert (np.diff(found.suspicion[found.suspected]) <= 0).all()


def test_of_several_labels_an_image_each_is_judged_for_itself():
    random = np.random.default_rng(0)
    true = random.random((300, 3)) < 0.4
    p = np.clip(np.where(true, 0.85, 0.1) + random.normal(scale=0.05, size=true.shape), 0.01, 0.99)
    labels = true.copy()
    labels[:10, 1] ^= True
    found = suspects.find(np.arange(300), p, labels)
    for i in range(300):
        held = [k for k in range(3) if is_held(p[:, k], labels[:, k], i)]
        assert found.is_suspected[i] == bool(held)
        assert np.flatnonzero(found.labels[i] != labels[i]).tolist() == held
    assert set(found.order[:10]) == set(range(10))
    assert found.own[:10] == pytest.approx(np.where(labels[:10, 1], p[:10, 1], 1 - p[:10, 1]))


def is_held(p, labels, i):
    """Whether yes or no is doubted by what the images with the other answer have for it in the mean."""
    other = 1 - p[i] if labels[i] else p[i]
    usual = [1 - each if labels[i] else each for each, label in zip(p, labels) if label != labels[i]]
    return other > 0.5 and other >= np.mean(usual)


def test_a_class_that_no_image_has_is_held_against_none():
    p = np.array([[0.1, 0.1, 0.8], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
    found = suspects.find(np.arange(4), p, np.array([0, 1, 0, 1]))
    assert 2 not in found.labels
    empty = suspects.find(np.arange(0), np.empty((0, 3)), np.empty(0, int))
    assert len(empty.suspected) == 0
