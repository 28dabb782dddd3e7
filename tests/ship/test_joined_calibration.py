"""Runs joined are calibrated together: on images that no fit has seen, matched by content, classes by name."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import transferkit as tk
from tests.conftest import write_digits
from tests.ship.test_ensemble import member
from transferkit.ship import artifact, unseen_file
from transferkit.tasks import SINGLE_LABEL, MultiLabel
from transferkit.trust import Sureness, Trust, calibration, sureness, unseen
from transferkit.trust.unseen import Unseen
from transferkit.zoo.errors import ModelFileError

CLASSES, OTHER_ORDER = ("ant", "bee", "wasp"), ("wasp", "ant", "bee")
SURE = Trust(sureness=Sureness(points=((0.5, 0.1),)))


def written(folder: Path, hashes, labels, logits, *, classes=CLASSES, task=SINGLE_LABEL, is_refitted=False) -> Path:
    """A run's folder as far as an ensemble reads it."""
    model = member(len(labels), classes=classes)
    record = {"val": model.record["val"] | {"mAP": 0.5}, "calibration": {"temperature": 2.0, "images": 9}}
    artifact.save(folder / "model", replace(model, task=task, record=record, trust=SURE))
    digests = np.array(hashes, np.uint8)[:, None].repeat(32, axis=1)
    kept = Unseen(hashes=digests, labels=np.array(labels), logits=np.array(logits), is_refitted=is_refitted)
    unseen_file.write(folder, kept)
    return folder


def drawn(count: int, *, scale: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of CLASSES, and logits that are better than chance, `scale` times too sure of themselves."""
    labels = np.arange(count) % len(CLASSES)
    noise = np.random.default_rng(seed).normal(size=(count, len(CLASSES)))
    return labels, (2 * np.eye(len(CLASSES))[labels] + noise) * scale


@pytest.fixture
def runs(tmp_path) -> tuple[Path, Path]:
    """Two runs with 60 images in common, of 70 and 80; the second has them and its classes in another order."""
    labels, logits = drawn(70, scale=0.5, seed=1)
    first = written(tmp_path / "first", range(70), labels, logits)
    order = [CLASSES.index(name) for name in OTHER_ORDER]  # class k of the second is order[k] of the first
    labels, logits = drawn(90, scale=0.5, seed=2)
    rows = np.random.default_rng(0).permutation(np.arange(10, 90))
    renamed = np.argsort(order)[labels]
    second = written(tmp_path / "second", rows, renamed[rows], logits[rows][:, order], classes=OTHER_ORDER)
    return first, second


def test_runs_are_calibrated_together_by_the_images_that_no_fit_has_seen(runs, tmp_path):
    joined = tk.ensemble(runs, tmp_path / "both")
    labels, first = drawn(70, scale=0.5, seed=1)
    _, second = drawn(90, scale=0.5, seed=2)
    logits = [first[10:70].astype(np.float32), second[10:70].astype(np.float32)]
    expected = calibration.temperature(logits, labels[10:70], SINGLE_LABEL)
    assert joined.calibration == {"temperature": pytest.approx(expected, rel=1e-6), "images": 60}
    assert expected < 0.7  # each is half as sure as it is right, and so is their mean
    assert joined.uncalibrated == ""
    for number, run in enumerate(runs):
        before, after = artifact.load(run), artifact.load(tmp_path / "both" / "members" / str(number))
        for was, now in zip(before.backbone.classifier.layers, after.backbone.classifier.layers, strict=True):
            torch.testing.assert_close(now.weight, was.weight / expected)
            torch.testing.assert_close(now.bias, was.bias / expected)
        assert (before.sureness is None, after.sureness) == (False, None)
        assert (after.record["val"], after.record.get("calibration")) == (before.record["val"], None)


def test_what_is_sure_is_known_of_a_calibrated_ensemble(runs, tmp_path):
    joined = tk.ensemble(runs, tmp_path / "both")
    labels, first = drawn(70, scale=0.5, seed=1)
    _, second = drawn(90, scale=0.5, seed=2)
    temperature = joined.calibration["temperature"]
    mean = np.mean([SINGLE_LABEL.probabilities(each[10:70] / temperature) for each in (first, second)], axis=0)
    found = joined.classifier.artifact.sureness.points
    expected = sureness.learn(mean.max(1), mean.argmax(1) == labels[10:70]).points
    np.testing.assert_allclose(found, expected, atol=1e-6)
    (said,) = joined.classifier.predict([np.zeros((9, 9, 3), np.uint8)])
    assert said.is_sure in (True, False)
    card = (tmp_path / "both" / "README.md").read_text()
    assert f"by 60 images that the fit\n  had not seen, the logits were divided by {temperature:.3f}" in card


def test_members_fitted_once_more_to_these_images_move_the_temperature_less(runs, tmp_path):
    plain = tk.ensemble(runs, tmp_path / "plain").calibration["temperature"]
    known = unseen_file.read(runs[1], num_classes=3)
    unseen_file.write(runs[1], replace(known, is_refitted=True))
    assert plain < tk.ensemble(runs, tmp_path / "both").calibration["temperature"] < 1


def test_thresholds_of_labels_are_chosen_anew_on_the_mean(tmp_path):
    task = MultiLabel(thresholds=(0.2, 0.5, 0.8))
    rng = np.random.default_rng(0)
    labels = rng.random((50, 3)) < 0.4
    made = []
    for name, order in (("first", [0, 1, 2]), ("second", [2, 0, 1])):
        logits = np.where(labels, 1.0, -2.0) + rng.normal(size=labels.shape)
        classes, own = tuple(CLASSES[k] for k in order), task.reordered(order)
        made.append(written(tmp_path / name, range(50), labels[:, order], logits[:, order], classes=classes, task=own))
    joined = tk.ensemble(made, tmp_path / "both").classifier.artifact
    known = [unseen_file.read(run, num_classes=3).logits for run in made]
    temperature = joined.record["calibration"]["temperature"]
    mean = task.mean([known[0] / temperature, known[1][:, [1, 2, 0]] / temperature])
    expected = task.chosen_on(mean, labels).thresholds
    assert joined.task.thresholds == pytest.approx(expected, rel=1e-6)
    assert expected != pytest.approx(task.thresholds)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda run: (run / "unseen.safetensors").unlink(), "second has no unseen.safetensors"),
        (lambda run: shutil.move(run / "model", run / "elsewhere"), "second/elsewhere has no unseen.safetensors"),
        (lambda run: _only(run, 19), "only 19 images were unseen by the fits of all members, 20 are needed"),
    ],
)
def test_without_such_images_the_members_stay_as_they_are_and_that_is_said(change, reason, runs, tmp_path):
    first, second = runs
    change(second)
    second = second if (second / "model").exists() else second / "elsewhere"
    joined = tk.ensemble([first, second], tmp_path / "both")
    assert reason in joined.uncalibrated
    assert (joined.calibration, joined.classifier.artifact.sureness) == (None, None)
    assert artifact.load(tmp_path / "both" / "members" / "0").record == artifact.load(first).record


def _only(run: Path, count: int) -> None:
    known = unseen_file.read(run, num_classes=3)
    common = np.flatnonzero(known.hashes[:, 0] < 70)[:count]
    arrays = {name: getattr(known, name)[common] for name in ("hashes", "labels", "logits")}
    unseen_file.write(run, replace(known, **arrays))


@pytest.mark.parametrize(
    "damage",
    [
        lambda known: replace(known, logits=known.logits[:, :2]),
        lambda known: replace(known, logits=known.logits * np.nan),
        lambda known: replace(known, labels=known.labels + 3),
        lambda known: replace(known, labels=known.labels[:5]),
        lambda known: replace(known, hashes=known.hashes[:, :8]),
    ],
)
def test_a_file_that_does_not_fit_the_model_is_refused(damage, runs, tmp_path):
    unseen_file.write(runs[1], damage(unseen_file.read(runs[1], num_classes=3)))
    with pytest.raises(ModelFileError, match=r"second/unseen\.safetensors does not fit"):
        tk.ensemble(runs, tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_a_damaged_file_is_refused(runs, tmp_path):
    content = (runs[1] / "unseen.safetensors").read_bytes()
    (runs[1] / "unseen.safetensors").write_bytes(content[:-9])
    with pytest.raises(ModelFileError, match=r"second/unseen\.safetensors"):
        tk.ensemble(runs, tmp_path / "both")


def test_of_very_many_images_some_are_kept_evenly(monkeypatch):
    monkeypatch.setattr(unseen, "MOST", 3)
    hashes = [f"{number:064x}" for number in range(5)]
    found = unseen.kept(hashes, np.arange(5), np.arange(10.0).reshape(5, 2), is_refitted=False)
    assert (found.labels.tolist(), found.hashes[:, -1].tolist()) == ([0, 2, 4], [0, 2, 4])
    assert found.logits.tolist() == [[0, 1], [4, 5], [8, 9]]


def test_images_in_common_come_in_one_order():
    """Whatever the order of a set is in this process: sums of floats depend on it."""
    members = [
        unseen.kept([f"{number:064x}" for number in numbers], np.arange(5), np.zeros((5, 2)), is_refitted=False)
        for numbers in ((9, 5, 7, 3, 1), (1, 3, 5, 7, 8))
    ]
    assert [rows.tolist() for rows in unseen.common(members)] == [[4, 3, 1, 2], [0, 1, 2, 3]]


def test_a_run_keeps_what_fits_said_of_images_that_they_had_not_seen(tmp_path):
    data = write_digits(tmp_path / "digits", classes=(1, 3, 8, 9), per_class=20)
    run = tk.finetune(data, out=tmp_path / "run", strategy="probe", backbone="cifar_resnet", test_fraction=0.2)
    known = unseen_file.read(run.folder, num_classes=4)
    assert run.metrics["calibration"]["temperature"] != 1
    with open(run.folder / "manifest.csv", newline="") as file:
        fitted = {row["sha256"]: row["label"] for row in csv.DictReader(file) if row["split"] != "test"}
    assert {bytes(digest).hex() for digest in known.hashes} == set(fitted)
    labels = [fitted[bytes(digest).hex()] for digest in known.hashes]
    assert [run.metrics["classes"][label] for label in known.labels] == labels
    assert SINGLE_LABEL.log_losses(known.logits, known.labels).mean() == pytest.approx(run.metrics["val"]["loss"])
    again = tk.finetune(
        data, out=tmp_path / "other", strategy="probe", seed=1, backbone="cifar_resnet", test_fraction=0.2
    )
    assert tk.ensemble([run.folder, again.folder / "model"], tmp_path / "both").calibration["images"] >= 20
    assert json.loads((tmp_path / "both" / "config.json").read_text())["transferkit"]["sureness"]
