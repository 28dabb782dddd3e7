"""A cue is named where it alone tells the classes, and not where it does not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.naive_bayes import CategoricalNB

from transferkit.audit import shortcuts
from transferkit.audit.cues import Cues, Seen
from transferkit.data.listing import Listing, PathTable
from transferkit.tasks import SINGLE_LABEL

PLAIN = Seen(100, 80, 128.0, 40.0, (120.0, 120.0, 120.0, 9.0), 0.5, ("JPEG RGB", 600.0), "", np.nan)


def listing(labels, names=None):
    names = names or ["photo.jpg"] * len(labels)
    return Listing(
        source=Path("photos"),
        paths=PathTable.from_paths(names),
        labels=np.asarray(labels),
        parts=np.full(len(labels), ""),
        classes=tuple("abcdef"[: max(labels) + 1]),
    )


def found(labels, seen, names=None):
    bytes = [each.width * each.height // 2 if each else 4000 for each in seen]
    told = shortcuts.find(listing(labels, names), Cues(seen=seen), bytes=bytes, groups=None)
    return {each.cue: each for each in told}


def test_the_accuracy_is_the_balanced_one_of_a_cue_of_two_values():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [300, 100])
    cue = np.where(random.random(400) < 0.1, 1 - labels, labels)
    told = found(labels, [PLAIN._replace(camera=f"camera {value}") for value in cue])["camera"]
    assert told.accuracy == pytest.approx(balanced_accuracy_score(labels, cue))
    assert told.interval[0] < 0.9 < told.interval[1]
    assert told.is_strong
    assert told.chance == 0.5


def test_the_accuracy_is_that_of_scikit_learns_naive_bayes_on_sixteenths_of_the_images():
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], [200, 120, 60])
    brightness = random.normal(100 + 20.0 * labels, 25)
    folds, answers = SINGLE_LABEL.folds(labels, 5, seed=0), np.empty(len(labels), int)
    for fold in range(5):
        fitted = folds != fold
        edges = np.quantile(brightness[fitted], np.linspace(0, 1, 17)[1:-1])
        bins = np.searchsorted(edges, brightness)[:, None]
        bayes = CategoricalNB(alpha=1 / 16, fit_prior=False, min_categories=16).fit(bins[fitted], labels[fitted])
        answers[~fitted] = bayes.predict(bins[~fitted])
    told = found(labels, [PLAIN._replace(brightness=float(value)) for value in brightness])["brightness"]
    assert told.accuracy == pytest.approx(balanced_accuracy_score(labels, answers), abs=1e-3)  # an image is in a tie


def test_the_interval_is_that_of_agresti_and_coull():
    assert shortcuts._deviation(np.array(8), 10) == pytest.approx(np.sqrt(0.75 * 0.25 / 12))


def test_the_strongest_cue_comes_first():
    labels = np.arange(200) % 2
    seen = [
        PLAIN._replace(camera=str(label), brightness=128.0 + 9 * (label != (k % 10 < 3)), width=100 + k % 7)
        for k, label in enumerate(labels)
    ]
    accuracies = [each.accuracy for each in found(labels, seen).values()]
    assert accuracies == sorted(accuracies, reverse=True)
    assert next(iter(found(labels, seen))) == "camera"


@pytest.mark.parametrize(
    ("cue", "seen"),
    [
        ("brightness", lambda x: PLAIN._replace(brightness=128.0 - 60 * x)),
        ("border", lambda x: PLAIN._replace(border=(255.0 * x, 0, 0, 1))),
        ("dimensions", lambda x: PLAIN._replace(width=100 - 20 * x, height=80 + 20 * x)),
        ("file format", lambda x: PLAIN._replace(encoding=("PNG RGB" if x else "JPEG RGB", 0.0))),
        ("camera", lambda x: PLAIN._replace(camera="=X" if x else "")),
        ("date", lambda x: PLAIN._replace(taken=15_000.0 + 9 * x)),
    ],
)
def test_each_cue_that_tells_the_label_is_named_and_no_other(cue, seen):
    labels = np.arange(60) % 2
    told = found(labels, [seen(label) for label in labels])
    assert [name for name, each in told.items() if each.is_strong] == [cue]
    assert told[cue].accuracy == 1.0


@pytest.mark.parametrize("seed", range(10))
def test_a_cue_that_says_nothing_is_not_named_however_few_the_images(seed):
    random = np.random.default_rng(seed)
    for count, classes in ((8, 2), (40, 2), (300, 6)):
        labels = np.arange(count) % classes
        seen = [PLAIN._replace(brightness=random.normal(), width=int(random.integers(50, 90))) for _ in labels]
        told = found(labels, seen)
        assert not [each for each in told.values() if each.is_strong]
        if count == 300:
            assert all(each.interval[0] < each.chance + 0.05 for each in told.values())


@pytest.mark.parametrize(("count", "is_named"), [(40, False), (4000, True)])
def test_a_cue_that_is_right_a_little_over_half_the_way_is_named_where_many_images_say_so(count, is_named):
    labels = np.arange(count) % 2
    cue = np.where(np.arange(count) // 2 % 5 == 0, 1 - labels, labels)  # 80 %
    assert found(labels, [PLAIN._replace(camera=str(value)) for value in cue])["camera"].is_strong == is_named


def test_of_many_classes_those_are_named_that_the_cue_tells_apart():
    labels = np.arange(240) % 6
    told = found(labels, [PLAIN._replace(camera="X" if label < 3 else "Y") for label in labels])["camera"]
    assert told.is_strong
    assert {frozenset(pair) for pair in told.pairs} == {frozenset((a, b)) for a in "abc" for b in "def"}


def test_a_number_tells_a_class_unless_it_begins_anew_in_each():
    labels = np.repeat([0, 1], [90, 30])
    seen = [PLAIN] * 120
    anew = [f"{i:03d}.jpg" for i in (*range(90), *range(30))]
    assert "file name" not in found(labels, seen, anew)
    for running in ([f"IMG_{i:03d}.jpg" for i in range(120)], [f"day7_{i:03d}.jpg" for i in range(120)]):
        assert found(labels, seen, running)["file name"].is_strong


def test_the_name_of_the_class_in_a_file_name_is_no_cue_but_another_word_is():
    labels = np.arange(60) % 2
    assert "file name" not in found(labels, [PLAIN] * 60, [f"{'ab'[k]}.jpg" for k in labels])
    assert found(labels, [PLAIN] * 60, [f"{('scan', 'web')[k]}.jpg" for k in labels])["file name"].is_strong


def test_one_class_and_unreadable_photos_stop_nothing():
    assert not found([0, 0, 0], [PLAIN] * 3)
    labels = np.arange(60) % 2
    seen = [PLAIN._replace(camera=str(label)) if i % 5 else None for i, label in enumerate(labels)]
    assert found(labels, seen)["camera"].is_strong
    assert not found(labels, [None] * 60)
    grouped = replace(listing(labels), groups=np.array(["one"] * 60))
    told = shortcuts.find(grouped, Cues(seen=[PLAIN._replace(camera=str(k)) for k in labels]), bytes=[1] * 60,
                          groups=grouped.groups)  # fmt: skip
    assert not [each for each in told if each.is_strong]
