"""A split is stratified, keeps groups whole and depends on nothing but its arguments."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transferkit.data import split

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda values: np.array(values, np.int64))
FRACTIONS = st.floats(0.01, 0.99)
SEEDS = st.integers(0, 9)


@st.composite
def grouped(draw):
    """Labels and groups of which each holds images of one class; an empty name is no group."""
    labels = draw(LABELS)
    names = draw(st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=len(labels), max_size=len(labels)))
    return labels, np.array([name and f"{name}{label}" for name, label in zip(names, labels)])


@given(LABELS, FRACTIONS, SEEDS)
def test_each_class_gives_its_rounded_share_and_is_in_both_parts_if_it_has_two_images(labels, fraction, seed):
    is_validation = split.stratified(labels, fraction, seed=seed)
    for label in np.unique(labels):
        size, taken = (labels == label).sum(), is_validation[labels == label].sum()
        if size == 1:
            assert taken == 0
        else:
            assert 1 <= taken <= size - 1
            assert taken in (1, size - 1) or abs(taken - fraction * size) <= 0.5


@given(grouped(), FRACTIONS, SEEDS)
def test_no_group_is_divided_and_a_class_of_two_groups_is_in_both_parts(data, fraction, seed):
    labels, groups = data
    is_validation = split.stratified(labels, fraction, seed=seed, groups=groups)
    for name in np.unique(groups[groups != ""]):
        assert len(np.unique(is_validation[groups == name])) == 1
    for label in np.unique(labels):
        own = groups[labels == label]
        units = len(np.unique(own[own != ""])) + (own == "").sum()
        assert len(np.unique(is_validation[labels == label])) == min(units, 2)


@given(st.lists(st.sampled_from("abcdef"), min_size=8, max_size=40), LABELS, SEEDS)
def test_a_group_of_several_classes_is_not_divided_either(names, labels, seed):
    groups = np.array(names)[: len(labels)]
    labels = labels[: len(groups)]
    for part in (
        split.stratified(labels, 0.3, seed=seed, groups=groups),
        split.folds(labels, 3, seed=seed, groups=groups),
    ):
        for name in np.unique(groups):
            assert len(np.unique(part[groups == name])) == 1


def test_many_small_groups_come_close_to_the_fraction():
    labels = np.repeat(np.arange(4), 200)
    groups = np.array([f"burst {i // 5}" for i in range(800)])
    is_validation = split.stratified(labels, 0.2, seed=0, groups=groups)
    for label in range(4):
        assert abs(is_validation[labels == label].sum() - 40) <= 2.5


@given(LABELS, SEEDS)
def test_a_split_is_a_function_of_the_seed(labels, seed):
    assert np.array_equal(split.stratified(labels, 0.3, seed=seed), split.stratified(labels, 0.3, seed=seed))
    assert np.array_equal(split.folds(labels, 3, seed=seed), split.folds(labels, 3, seed=seed))


def test_another_seed_gives_another_split():
    labels = np.repeat(np.arange(3), 50)
    assert not np.array_equal(split.stratified(labels, 0.2, seed=0), split.stratified(labels, 0.2, seed=1))
    assert not np.array_equal(split.folds(labels, 5, seed=0), split.folds(labels, 5, seed=1))


@given(LABELS, st.integers(2, 6), SEEDS)
def test_folds_of_a_class_and_of_all_differ_by_one_image_at_most(labels, count, seed):
    fold = split.folds(labels, count, seed=seed)
    assert np.ptp(np.bincount(fold, minlength=count)) <= 1
    for label in np.unique(labels):
        assert np.ptp(np.bincount(fold[labels == label], minlength=count)) <= 1


@given(grouped(), st.integers(2, 5), SEEDS)
def test_folds_with_groups_differ_by_the_largest_group_at_most(data, count, seed):
    labels, groups = data
    fold = split.folds(labels, count, seed=seed, groups=groups)
    for label in np.unique(labels):
        own = groups[labels == label]
        largest = max([1, *(int((own == name).sum()) for name in np.unique(own[own != ""]))])
        assert np.ptp(np.bincount(fold[labels == label], minlength=count)) <= largest


def test_given_parts_are_kept_and_only_open_data_is_split():
    labels = np.repeat([0, 1], 10)
    given_parts = np.array(["train", "val", "test", "", ""] * 4)
    kept = split.assign_parts(labels, given_parts, fraction=0.2, seed=0)
    assert kept.tolist() == ["train", "val", "test", "train", "train"] * 4

    without_val = np.array(["test" if i % 5 == 0 else "" for i in range(20)])
    parts = split.assign_parts(labels, without_val, fraction=0.25, seed=0)
    assert (parts[without_val == "test"] == "test").all()
    assert [(parts[labels == label] == "val").sum() for label in (0, 1)] == [2, 2]
