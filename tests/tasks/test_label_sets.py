"""Images of several labels are divided so that every class has its share, and no group is torn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferkit.tasks import MultiLabel, label_sets
from transferkit.tasks.split import stratified as stratified_by_class

SEEDS = st.integers(0, 5)


@st.composite
def labelled(draw):
    """Labels (N, K) and the names of some groups."""
    count, classes = draw(st.integers(1, 40)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    labels = rng.random((count, classes)) < rng.uniform(0.05, 0.7, classes)
    return labels, rng.choice(["", "", "", "a", "b", "c"], count)


@pytest.mark.parametrize("seed", range(3))
def test_every_class_has_its_share_in_both_parts(seed):
    rng = np.random.default_rng(seed)
    labels = rng.random((400, 6)) < [0.5, 0.4, 0.3, 0.2, 0.05, 0.01]
    held_out = MultiLabel().stratified(labels, 0.2, seed=seed)
    assert abs(held_out.sum() - 80) <= 8
    assert (abs(labels[held_out].sum(0) - 0.2 * labels.sum(0)) <= 2.5).all()
    random = np.mean([abs(labels[rng.permutation(400)[:80]].sum(0) - 0.2 * labels.sum(0)).sum() for _ in range(50)])
    assert abs(labels[held_out].sum(0) - 0.2 * labels.sum(0)).sum() < random / 4


@given(labelled(), st.floats(0.05, 0.9), SEEDS)
def test_groups_stay_whole_and_every_class_can_be_trained(data, fraction, seed):
    labels, groups = data
    held_out = label_sets.stratified(labels, fraction, seed=seed, groups=groups)
    for name in set(groups) - {""}:
        assert len(set(held_out[groups == name])) == 1
    assert labels[~held_out].any(0).tolist() == labels.any(0).tolist()
    assert np.array_equal(held_out, label_sets.stratified(labels, fraction, seed=seed, groups=groups))


@pytest.mark.parametrize("seed", range(3))
def test_a_class_in_two_groups_validates_with_one_of_them(seed):
    labels = np.zeros((50, 2), bool)
    labels[:10, 0] = labels[10:, 1] = True
    groups = np.array(["a"] * 5 + ["b"] * 5 + [""] * 40)
    held_out = label_sets.stratified(labels, 0.2, seed=seed, groups=groups)
    assert labels[held_out].sum(0).tolist() == [5, 8]


@given(labelled(), st.integers(2, 5), SEEDS)
def test_every_image_is_in_one_fold_and_groups_stay_whole(data, count, seed):
    labels, groups = data
    fold = label_sets.folds(labels, count, seed=seed, groups=groups)
    assert set(fold) <= set(range(count))
    for name in set(groups) - {""}:
        assert len(set(fold[groups == name])) == 1


@pytest.mark.parametrize("seed", range(3))
def test_folds_are_even_in_every_class(seed):
    labels = np.random.default_rng(seed).random((300, 5)) < [0.5, 0.4, 0.3, 0.1, 0.03]
    fold = label_sets.folds(labels, 5, seed=seed)
    counts = np.array([labels[fold == number].sum(0) for number in range(5)])
    assert (np.ptp(counts, axis=0) <= [5, 5, 5, 3, 1]).all()
    assert np.ptp(np.bincount(fold)) <= 10


def test_images_of_one_label_each_are_divided_as_evenly_as_by_class():
    classes = np.repeat([0, 1, 2], [48, 33, 19])
    held_out = label_sets.stratified(np.eye(3, dtype=bool)[classes], 0.2, seed=0)
    by_class = stratified_by_class(classes, 0.2, seed=0)
    assert np.bincount(classes[held_out]).tolist() == np.bincount(classes[by_class]).tolist() == [10, 7, 4]


def test_images_without_a_label_are_divided_too():
    labels = np.zeros((50, 2), bool)
    labels[:10, 0] = labels[5:15, 1] = True
    held_out = label_sets.stratified(labels, 0.2, seed=0)
    assert held_out[15:].sum() == 7
    held_out = label_sets.stratified(labels, 0.99, seed=0)
    assert (~held_out[15:]).sum() == 1


def test_large_groups_are_dealt_out_first_so_that_small_ones_even_them_out():
    groups = np.repeat(list("abcdefg"), [12, 2, 2, 2, 2, 2, 2])
    for seed in range(3):
        fold = label_sets.folds(np.ones((24, 1), bool), 2, seed=seed, groups=groups)
        assert np.bincount(fold).tolist() == [12, 12]
