"""A split is stratified, keeps groups whole and depends on nothing but its arguments."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from transferkit.tasks import SINGLE_LABEL, split

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
    assert set(fold.tolist()) <= set(range(count))
    assert np.ptp(np.bincount(fold, minlength=count)) <= 1
    for label in np.unique(labels):
        assert np.ptp(np.bincount(fold[labels == label], minlength=count)) <= 1


@given(grouped(), st.integers(2, 5), SEEDS)
def test_folds_with_groups_differ_by_the_largest_group_at_most(data, count, seed):
    labels, groups = data
    fold = split.folds(labels, count, seed=seed, groups=groups)
    assert set(fold.tolist()) <= set(range(count))
    for label in np.unique(labels):
        own = groups[labels == label]
        largest = max([1, *(int((own == name).sum()) for name in np.unique(own[own != ""]))])
        assert np.ptp(np.bincount(fold[labels == label], minlength=count)) <= largest


def test_given_parts_are_kept_and_only_open_data_is_split():
    labels = np.repeat([0, 1], 10)
    given_parts = np.array(["train", "val", "test", "", ""] * 4)
    kept = SINGLE_LABEL.assign_parts(labels, given_parts, fraction=0.2, seed=0)
    assert kept.tolist() == ["train", "val", "test", "train", "train"] * 4

    without_val = np.array(["test" if i % 5 == 0 else "" for i in range(20)])
    parts = SINGLE_LABEL.assign_parts(labels, without_val, fraction=0.25, seed=0)
    assert (parts[without_val == "test"] == "test").all()
    assert [(parts[labels == label] == "val").sum() for label in (0, 1)] == [2, 2]


@given(st.floats(0.01, 0.99), SEEDS)
@example(7.49 / 20, 0)
@example(7.51 / 20, 0)
def test_of_equal_groups_as_many_validate_as_come_closest_to_the_fraction(fraction, seed):
    labels, groups = np.zeros(20, int), np.repeat(["a", "b", "c", "d"], 5)
    taken = split.stratified(labels, fraction, seed=seed, groups=groups).sum()
    assert taken in (5, 10, 15)
    assert abs(taken - 20 * fraction) <= min(abs(some - 20 * fraction) for some in (5, 10, 15)) + 1e-9


def test_a_class_of_nothing_but_groups_gives_the_smallest_to_a_small_fraction():
    labels = np.repeat([0, 0, 0, 1, 1], [5, 3, 4, 2, 4])
    groups = np.repeat(["a", "b", "c", "d", "e"], [5, 3, 4, 2, 4])
    is_validation = split.stratified(labels, 0.01, seed=0, groups=groups)
    assert set(groups[is_validation]) == {"b", "d"}


def test_two_classes_of_two_images_that_share_their_groups_are_in_both_parts():
    is_validation = split.stratified(np.array([0, 1, 0, 1]), 0.01, seed=0, groups=np.array(["a", "a", "b", "b"]))
    assert is_validation.tolist() in ([True, True, False, False], [False, False, True, True])


def test_where_a_group_is_more_than_the_share_no_single_image_is_added():
    labels, groups = np.zeros(14, int), np.array(["a"] * 5 + ["b"] * 5 + [""] * 4)
    assert split.stratified(labels, 0.3, seed=0, groups=groups).sum() == 5


def test_equal_groups_are_dealt_out_evenly():
    fold = split.folds(np.zeros(100, int), 5, seed=0, groups=np.repeat([f"burst {i}" for i in range(20)], 5))
    assert np.bincount(fold).tolist() == [20] * 5


def test_single_images_fill_up_what_a_group_leaves_uneven():
    fold = split.folds(np.zeros(12, int), 3, seed=0, groups=np.array(["a"] * 4 + [""] * 8))
    assert np.bincount(fold).tolist() == [4, 4, 4]


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=40), LABELS, FRACTIONS, SEEDS)
@example(list("aabb"), np.array([0, 1, 0, 1]), 0.99, 0)
@example(list("aabbc"), np.array([0, 0, 1, 1, 0]), 0.99, 0)
def test_groups_of_several_classes_leave_every_class_an_image_to_train_on(names, labels, fraction, seed):
    groups = np.array(names)[: len(labels)]
    labels = labels[: len(groups)]
    is_validation = split.stratified(labels, fraction, seed=seed, groups=groups)
    assert set(labels[~is_validation]) == set(labels)


def test_a_class_that_nobody_has_keeps_no_group_from_validating():
    labels, groups = np.repeat([0, 2], 10), np.repeat([f"pair {i}" for i in range(10)], 2)
    is_validation = split.stratified(labels, 0.5, seed=0, groups=groups)
    assert all(is_validation[labels == label].sum() in (4, 6) for label in (0, 2))


def test_groups_and_single_images_each_give_their_share():
    groups = np.array([f"pair {i // 2}" for i in range(10)] + [""] * 10)
    is_validation = split.stratified(np.zeros(20, int), 0.5, seed=0, groups=groups)
    assert is_validation[:10].sum() in (4, 6)
    assert is_validation.sum() == 10


@given(LABELS, FRACTIONS, SEEDS)
def test_a_group_of_one_image_is_no_group(labels, fraction, seed):
    groups = np.array([f"image {i}" for i in range(len(labels))])
    alone = split.stratified(labels, fraction, seed=seed)
    assert np.array_equal(split.stratified(labels, fraction, seed=seed, groups=groups), alone)


def test_large_groups_are_dealt_out_first_so_that_small_ones_even_them_out():
    groups = np.repeat(list("abcdefg"), [6, 1, 1, 1, 1, 1, 1])
    groups = np.repeat(groups, 2)  # of two images and more
    fold = split.folds(np.zeros(24, int), 2, seed=0, groups=groups)
    assert np.bincount(fold).tolist() == [12, 12]


def test_no_images_have_no_folds():
    assert split.folds(np.zeros(0, int), 3, seed=0).tolist() == []
