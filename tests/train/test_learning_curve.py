"""The learning curve of a probe: what its points are, what is foretold of them, and where there is none."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from transferkit.messages import Reporter
from transferkit.model.features import Features
from transferkit.tasks import SINGLE_LABEL, MultiLabel
from transferkit.train import head, learning_curve
from transferkit.train.context import FitContext
from transferkit.train.loop import Examples
from transferkit.train.problem import Hyperparameters, Problem

HYPERPARAMETERS = Hyperparameters(
    optimizer="lbfgs", lr=None, layer_decay=1, l2=None, dropout=0, dropconnect=0, balance="none", seed=0
)


def clouds(per_class: int, *, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clouds in twenty dimensions: features and labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    centres = np.random.default_rng(7).normal(size=(classes, 20))
    return (0.6 * centres[labels] + rng.normal(size=(len(labels), 20))).astype(np.float32), labels


def problem(features: np.ndarray, labels: np.ndarray, *, groups=None, task=SINGLE_LABEL) -> Problem:
    rows, classes = np.arange(len(labels)), labels.shape[1] if labels.ndim > 1 else labels.max() + 1
    parts = (Examples(rows=some, labels=labels, num_classes=classes, task=task) for some in (rows[::2], rows[1::2]))
    return Problem(
        **dict.fromkeys(("model", "network", "loader")),
        features=Features(views=(features,)),
        **dict(zip(("train", "val"), parts)),
        groups=groups,
        context=FitContext(plan=None, patience=1, reporter=Reporter()),
        hyperparameters=HYPERPARAMETERS,
        are_few=True,
    )


def measured(given: Problem, *, l2: float = 0.03) -> dict:
    return learning_curve.measure(given, head.fit_probe(given, l2=l2))


def test_its_points_are_the_accuracies_of_probes_of_scikit_learn_on_the_same_parts():
    features, labels = clouds(40)
    block = measured(problem(features, labels))
    assert [size for size, _ in block["points"]] == [15, 30, 60, 96]
    for (_, found), count in zip(block["points"], (8, 4, 2)):
        part = SINGLE_LABEL.folds(labels, count, seed=0)
        expected = []
        for number in range(count):
            x, y = features[part == number], labels[part == number]
            mean, deviation = x.mean(0), x.std(0)
            fit = LogisticRegression(C=1 / (2 * 0.03 * len(y)), tol=1e-6, max_iter=1000).fit((x - mean) / deviation, y)
            expected.append(fit.predict((features[part != number] - mean) / deviation) == labels[part != number])
        assert found == pytest.approx(np.mean(np.concatenate(expected)), abs=0.01)


def test_a_point_is_as_certain_as_its_draws_agree_and_never_more_than_its_images_allow():
    """By hand: half of the error of a share where one more image is right, and one more wrong."""
    nan, members = np.nan, np.ones(4, bool)
    one = learning_curve.Measured(share=0.5, right=np.array([[nan, 1, 1, 0.0]]))
    assert one.deviation(members) == pytest.approx(np.sqrt(7 / 18 * 11 / 18 / 4) / 2)  # (4 / 3 + 1) / 6 are wrong
    far = learning_curve.Measured(share=0.25, right=np.repeat([[1.0], [1.0], [0.0], [0.0], [nan]], 40, axis=1))
    assert far.deviation(np.ones(40, bool)) == pytest.approx(np.std([1, 1, 0, 0], ddof=1) / 2)


def test_half_of_the_images_foretell_what_twice_as_many_come_to():
    """Of eight sets of images, on 3,000 others. Clouds have more error that no image takes away than photos."""
    errors = []
    judged, truth = clouds(1000, seed=100)
    for seed in range(8):
        features, labels = clouds(80, seed=seed)
        half = np.arange(len(labels)) % 2 == 0
        block = measured(problem(features[half], labels[half]))
        whole = head.fit_to(problem(features, labels), np.arange(len(labels)), 0.03)
        right = whole.predict(judged, np.arange(len(truth))).argmax(1) == truth
        errors.append(block["twice"][1] - right.mean())
    assert abs(np.mean(errors)) < 0.035
    assert np.mean(np.abs(errors)) < 0.045  # the noise of 120 images that judge is 0.03


def test_no_group_is_fitted_to_and_judged():
    """Groups of five copies under labels of chance: nothing can be learnt of them, and nothing is."""
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(40, 20)), 5, axis=0).astype(np.float32)
    labels = np.repeat(rng.permutation(np.arange(40) % 2), 5)
    names = np.repeat([f"g{number}" for number in range(40)], 5)
    alone = measured(problem(features, labels), l2=1e-3)
    together = measured(problem(features, labels, groups=names), l2=1e-3)
    assert max(accuracy for _, accuracy in together["points"]) < 0.7
    assert alone["points"][-1][1] > 0.9


def test_the_class_that_is_known_least_gains_most_from_ten_more():
    features, labels = clouds(60, classes=3)
    few = np.concatenate([np.flatnonzero(labels == 0)[:16], np.flatnonzero(labels > 0)])
    gains = measured(problem(features[few], labels[few]))["gains"]
    assert gains[0]["label"] == 0
    assert {each["label"]: each["images"] for each in gains} == {0: 16, 1: 60, 2: 60}
    assert all(each["interval"][0] <= each["gain"] <= each["interval"][1] for each in gains)


def test_it_foretells_no_less_of_more_images_and_its_interval_holds_it():
    block = measured(problem(*clouds(40)))
    sizes, accuracies, lows, highs = zip(*block["line"])
    assert (sizes[0], sizes[-1]) == (15, 480)
    assert list(accuracies) == sorted(accuracies)
    assert all(low <= middle <= high for low, middle, high in zip(lows, accuracies, highs))
    assert (block["now"][0], block["twice"][0]) == (120, 240)


def test_images_of_several_labels_have_a_curve_and_no_gains_by_class():
    features, labels = clouds(40)
    block = measured(problem(features, np.eye(3, dtype=bool)[labels], task=MultiLabel()))
    assert len(block["points"]) == 4
    assert block["gains"] == []


@pytest.mark.parametrize(("per_class", "points"), [(3, None), (7, None), (8, 3), (16, 4)])
def test_a_class_that_a_part_would_have_one_image_of_leaves_the_part_out(per_class, points):
    block = measured(problem(*clouds(per_class)))
    assert (block and len(block["points"])) == points


def test_where_folds_take_too_long_there_is_none(monkeypatch):
    monkeypatch.setattr(head, "FOLDS_UP_TO", 0)
    assert measured(problem(*clouds(40))) is None
