"""What the tasks say of an image and of scores, in words and in cells, and what they know of labels."""

import ast
import inspect
import textwrap

import numpy as np
import pytest
import torch

from transferkit import tasks
from transferkit.data.label_columns import LabelColumns
from transferkit.tasks import SINGLE_LABEL, MultiLabel, Task

CLASSES = ("ant", "bee", "cat")
ONE, MANY = np.array([2, 0, 2, 2]), np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1], [0, 0, 1]], bool)
P = np.array([[0.2, 0.1, 0.7], [0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.1, 0.2, 0.7]])


def blocks():
    for task, labels in ((SINGLE_LABEL, ONE), (MultiLabel(), MANY)):
        yield task, task.scores(task.logits(P), labels)


@pytest.mark.parametrize("kind", [Task, LabelColumns])
def test_a_method_without_a_body_has_to_be_written_by_whoever_follows(kind):
    def is_empty(function):
        (written,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
        return all(isinstance(line, ast.Expr) for line in written.body)

    methods = {name: getattr(value, "__func__", value) for name, value in vars(kind).items() if name[0] != "_"}
    empty = {name for name, value in methods.items() if inspect.isfunction(value) and is_empty(value)}
    assert empty == kind.__abstractmethods__


def test_one_class_is_said_with_its_probability_and_several_are_joined_by_bars_the_likeliest_first():
    assert SINGLE_LABEL.said(P[0]) == ((2, 0.7),)
    several = MultiLabel(thresholds=(0.1, 0.1, 0.6))
    assert several.said(P[0]) == ((2, 0.7), (0, 0.2))  # 0.1 is not above 0.1
    assert SINGLE_LABEL.text(np.int64(1), CLASSES) == "bee"
    assert several.text(MANY[0], CLASSES) == "ant|cat"
    assert several.text(MANY[1], CLASSES) == ""


def test_only_a_task_that_names_one_class_always_names_one():
    for task, _ in blocks():
        assert task.names_one == ({len(task.said(p)) for p in (*P, np.full(3, 0.3))} == {1})


def test_a_row_of_predictions_has_a_cell_for_each_column():
    assert SINGLE_LABEL.prediction_columns(CLASSES) == ("path", "label", "predicted", "probability")
    assert SINGLE_LABEL.prediction(P[0], 0, CLASSES) == ("ant", "cat", "0.700000")
    several = MultiLabel(thresholds=(0.1, 0.5, 0.6))
    assert several.prediction_columns(CLASSES) == ("path", "labels", "predicted", *CLASSES)
    expected = ("bee", "ant|cat", "0.200000", "0.100000", "0.700000")
    assert several.prediction(P[0], np.array([False, True, False]), CLASSES) == expected


def test_scores_are_told_in_per_cent():
    block = {"accuracy": 0.75, "interval": [0.301, 0.954], "n": 4, "mAP": 0.8125, "micro_f1": 0.5, "macro_f1": 0.25}
    assert SINGLE_LABEL.headline(block) == "75.0 % of 4 images right (95 % interval 30.1 to 95.4)"
    assert MultiLabel().headline(block) == (
        "mAP 0.812, F1 0.500 micro, 0.250 macro; all labels right on 75.0 % of 4 images (95 % interval 30.1 to 95.4)"
    )


def test_an_interval_of_images_that_lie_in_groups_says_of_how_many():
    block = {"accuracy": 0.75, "interval": [0.301, 0.954], "n": 4, "groups": 3}
    assert SINGLE_LABEL.headline(block) == "75.0 % of 4 images right (95 % interval 30.1 to 95.4, by 3 groups)"


def test_further_scores_are_those_that_a_block_has():
    assert tasks.further({"accuracy": 1.0, "loss": 0.25, "roc_auc": None, "top5": 1.0}) == {
        "top-5 accuracy": "1.0000",
        "log loss": "0.2500",
    }


def test_a_table_has_a_row_for_each_class_that_can_be_judged():
    (one, single), (many, several) = blocks()
    assert one.class_table(single, CLASSES) == [
        ("class", "images", "right", "precision", "recall", "F1"),
        ("ant", "1", "1", "1.000", "1.000", "1.000"),
        ("cat", "3", "2", "1.000", "0.667", "0.800"),
    ]
    head, *rows = many.class_table(several, CLASSES)
    assert head == ("class", "images", "AP", "precision", "recall", "F1", "threshold")
    assert rows == [
        ("ant", "2", "0.500", "", "0.000", "0.000", "0.500"),
        ("bee", "0", "", "0.000", "", "", "0.500"),
        ("cat", "3", "1.000", "1.000", "0.667", "0.800", "0.500"),
    ]


def test_scores_without_those_of_single_classes_are_a_summary():
    left = {"confusion", "per_class", "interval"}
    for _, block in blocks():
        assert tasks.summary(block) == {name: block[name] for name in block.keys() - left}


def test_the_task_of_scores_is_the_one_they_name_and_else_one_class_an_image():
    assert tasks.of_scores({}) == SINGLE_LABEL
    assert tasks.of_scores({"task": "multi-label"}) == MultiLabel()


def test_images_are_counted_by_class_and_told_apart_by_label():
    assert SINGLE_LABEL.counts(ONE, 4).tolist() == [1, 0, 3, 0]
    assert MultiLabel().counts(MANY, 3).tolist() == [2, 0, 3]
    for task, labels in ((SINGLE_LABEL, ONE), (MultiLabel(), MANY)):
        sets = task.sets(labels)
        equal = [[np.array_equal(one, other) for other in labels] for one in labels]
        assert (sets[:, None] == sets[None]).tolist() == equal


def test_what_is_chosen_is_written_and_read_back_and_the_usual_task_needs_no_word():
    chosen = MultiLabel(thresholds=(0.2, 0.3, 0.4))
    written = chosen.as_json()["task"]
    assert tasks.read(written["name"], tuple(written["thresholds"]), num_classes=3) == chosen
    assert SINGLE_LABEL.as_json() == {}
    assert tasks.read("single-label", (), num_classes=1) == SINGLE_LABEL
    assert tasks.read("multi-label", (), num_classes=1) == MultiLabel()
    for number in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            tasks.read("multi-label", (number, 0.5), num_classes=2)


@pytest.mark.parametrize("task", [SINGLE_LABEL, MultiLabel()])
def test_probabilities_are_the_same_of_arrays_and_tensors_and_logits_give_them_back(task):
    logits = np.random.default_rng(0).normal(size=(2, 5, 3)) * 5  # of two members
    assert task.activated(torch.from_numpy(logits)).numpy() == pytest.approx(task.probabilities(logits))
    assert task.probabilities(task.logits(P)) == pytest.approx(P)
    assert task.right(task.logits(P), np.array([2, 0, 0, 0]) if task == SINGLE_LABEL else P > 0.5).tolist() == (
        [True, True, False, False] if task == SINGLE_LABEL else [True] * 4
    )


@pytest.mark.parametrize("views", [1, 3])
def test_all_images_in_all_views_count_one_in_the_loss_of_a_probe(views):
    weights = torch.tensor([0.5, 1.0, 4.0])
    shares = SINGLE_LABEL.shares(ONE, weights, views=views)
    assert views * shares[ONE].sum().item() == pytest.approx(1)
    assert (shares / weights).numpy() == pytest.approx((shares / weights)[0].item())
    logits, labels = torch.randn(4, 3, requires_grad=True), torch.from_numpy(ONE)
    expected = torch.nn.functional.cross_entropy(logits, labels, weight=weights) / views
    expected.backward()
    loss, slope = SINGLE_LABEL.slope(logits.detach().clone(), labels, shares)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(slope, logits.grad, atol=1e-6)


@pytest.mark.parametrize(
    ("task", "labels"), [(SINGLE_LABEL, np.arange(40) % 3), (MultiLabel(), MANY[np.arange(40) % 4])]
)
def test_only_images_that_may_train_are_held_out_and_their_groups_stay_whole(task, labels):
    parts = np.array(["", "train", "test", ""] * 10)
    groups = np.array([f"pair {i // 8} {i % 2}" for i in range(40)])
    assigned = task.assign_parts(labels, parts, fraction=0.3, seed=0, groups=groups)
    assert ((assigned == "test") == (parts == "test")).all()
    assert set(assigned) == {"train", "val", "test"}
    for name in set(groups):
        assert len(set(assigned[(groups == name) & (parts != "test")])) == 1
