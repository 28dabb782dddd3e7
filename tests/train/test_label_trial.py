"""A step of the augmentation that makes one class of another is left out, one that changes nothing is added."""

import json

import numpy as np
import pytest

import transferkit as tk
from benchmarks.harness import signs
from tests.test_resume import Stopping
from transferkit import policy, presets, ranks
from transferkit.data.photos import Photos
from transferkit.preparation import read_images
from transferkit.prepare import prepare
from transferkit.progress import Progress
from transferkit.tasks import SINGLE_LABEL, MultiLabel
from transferkit.train import label_trial
from transferkit.train.label_trial import Sample
from transferkit.zoo import files
from transferkit.zoo.errors import StoppedError

PROBE = {"backbone": "cifar_resnet", "strategy": "probe", "image_size": 32, "precision": "fp32", "l2": 0.01}
TINY = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "precision": "fp32"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a made set of 40 photos to train on; each is made once."""
    place = tmp_path_factory.mktemp("sets")

    def folder(name):
        return place / name if (place / name).exists() else signs.write(place / name, name, train=40, test=4)

    return folder


def tried(folder, **options):
    """What is tried of an augmentation, and what is left."""
    prepared = prepare(folder, backbone="cifar_resnet", image_size=32, precision="fp32", **options)
    heard = Stopping()
    _, _, config, record = policy.tried(prepared, *read_images(prepared, Progress()), heard)
    steps = {step.name for step in presets.find(config.augment).steps}
    return steps, heard.said, record


@pytest.mark.parametrize(
    ("name", "changing"),
    [
        ("arrows", {"mirror"}),
        pytest.param("shoes", {"mirror"}, marks=pytest.mark.slow),
        pytest.param("text", {"mirror", "flip", "turn"}, marks=pytest.mark.slow),
        pytest.param("sixes", {"flip", "turn"}, marks=pytest.mark.slow),
    ],
)
def test_no_step_is_used_that_makes_one_class_of_another(name, changing, made):
    steps, said, _ = tried(made(name), strategy="finetune")
    assert not changing & steps
    assert {"crop", "mirror", "light"} - changing <= steps
    if name == "arrows":
        assert "mirror images turn left into right: not used" in said


def test_flips_and_turns_are_added_where_nothing_has_a_top():
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    plain = rng.normal(size=(120, 16)).astype(np.float32) + 3 * np.eye(3, 16, dtype=np.float32)[labels]
    views = {"flip": plain[:, ::-1][:, ::-1] + 0.01, "turn": plain + 0.01, "mirror": plain, "crop": plain}
    found = run("default", plain, labels, views | {"light": plain})
    assert found.augment == "default+flip+turn"
    assert found.lines == (
        "flips upside down change nothing that can be told: used too",
        "quarter turns change nothing that can be told: used too",
    )
    views["turn"] = plain[(np.arange(120) + 1) % 120]  # the photo of another class
    assert run("default", plain, labels, views | {"light": plain}).augment == "default+flip"


def run(augment, plain, labels, views, task=SINGLE_LABEL, classes=("a", "b", "c")):
    steps = label_trial.steps_of(augment, is_drawn=True, has_mirrored=True)
    folds = np.arange(len(labels)) // len(classes) % 5
    sample = Sample(rows=np.arange(len(labels)), labels=labels, folds=folds, classes=classes, task=task)
    return label_trial.run(augment, steps, sample, lambda step, rows: views[step.name] if step else plain)


def test_a_step_that_blurs_the_answers_but_can_be_learned_stays():
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    plain = 0.3 * rng.normal(size=(120, 16)).astype(np.float32) + 3 * np.eye(3, 16, dtype=np.float32)[labels]
    moved = 0.3 * rng.normal(size=(120, 16)).astype(np.float32) + 3 * np.eye(3, 16, 8, dtype=np.float32)[labels]
    found = run("light", plain, labels, {"crop": moved, "mirror": plain, "flip": moved, "turn": moved})
    assert found.augment == "light"
    assert found.figures["steps"]["crop"]["accuracy"] < 0.6  # no answer holds, but learning them costs nothing
    assert "costs" in found.figures["steps"]["crop"]


def test_a_step_whose_answers_hold_stays_even_if_both_kinds_are_hard_to_learn():
    labels = np.arange(120) % 2
    plain = 0.3 * np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    plain[:, 0] += 2 * labels - 1
    views = {"crop": 30 * plain, "mirror": plain, "flip": 30 * plain, "turn": plain[::-1]}
    found = run("light", plain, labels, views, classes=("a", "b"))
    assert found.augment == "light"
    assert found.figures["steps"]["crop"]["accuracy"] == found.figures["accuracy"]


def test_a_step_that_swaps_two_labels_of_several_is_left_out():
    rng = np.random.default_rng(0)
    labels = rng.random((120, 12)) < 0.5
    plain = 0.2 * rng.normal(size=(120, 16)).astype(np.float32)
    plain[:, :12] += 2 * labels - 1
    swapped = plain[:, [1, 0, *range(2, 16)]]
    views = {"crop": plain, "mirror": swapped, "flip": swapped, "turn": swapped}
    found = run("light", plain, labels, views, task=MultiLabel(), classes=tuple("abcdefghijkl"))
    assert found.augment == "light-mirror"
    assert found.lines == ("mirror images make other classes of the photos: not used",)


def test_flips_and_turns_are_not_both_added_where_mirror_images_do_harm():
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    plain = rng.normal(size=(120, 16)).astype(np.float32)
    plain[:, 0] += 6 * labels - 3
    views = {"crop": plain, "mirror": plain * [-1, *[1] * 15], "flip": plain, "turn": plain}
    views = {name: view.astype(np.float32) for name, view in views.items()}
    assert run("light", plain, labels, views, classes=("a", "b")).augment == "light-mirror"
    views["turn"] = views["mirror"]
    assert run("light", plain, labels, views, classes=("a", "b")).augment == "light-mirror+flip"


@pytest.mark.parametrize("augment", ["none", "default+mirror", "light-crop"])
def test_what_is_to_be_obeyed_as_written_is_not_tried(augment):
    assert not label_trial.steps_of(augment, is_drawn=True, has_mirrored=True)


def test_a_probe_reads_no_photo_again_and_has_the_bytes_of_no_augmentation(made, tmp_path, monkeypatch):
    count, read = [], Photos.read
    monkeypatch.setattr(Photos, "read", lambda self, path: count.append(path) or read(self, path))
    harmed = tk.finetune(made("arrows"), out=tmp_path / "tried", cache_dir=tmp_path / "cache", tta=True, **PROBE)
    assert len(count) == 44  # for features; near copies are looked for in what they were read for
    untried = "mirror averaging is not used: with --augment default-mirror nothing is fitted to mirror images"
    assert untried in harmed.metrics["notes"]
    assert harmed.metrics["tta"] is None
    plain = tk.finetune(made("arrows"), out=tmp_path / "none", augment="none", **PROBE)
    assert weights(harmed) == weights(plain)
    record = json.loads((harmed.folder / "run.json").read_text())
    assert (record["given"]["augment"], record["config"]["augment"]) == ("default", "default-mirror")
    assert record["config"]["views"] == 1
    assert record["augmentation"]["lines"] == ["mirror images turn left into right: not used"]
    assert record["augmentation"]["lines"][0] in harmed.metrics["notes"]
    assert record["augmentation"]["lines"][0] in (harmed.folder / "report.html").read_text()


def weights(run):
    return (run.folder / "model" / "model.safetensors").read_bytes()


def test_views_that_follow_a_mirror_image_left_out_are_augmented(made):
    prepared = prepare(made("arrows"), views=2, **PROBE)
    prepared, taken, config, _ = policy.tried(prepared, *read_images(prepared, Progress()), Progress())
    assert (config.augment, config.views) == ("default-mirror", 2)
    assert len(taken.features.views) == 1  # the second is drawn
    assert prepared.augment.name == "default-mirror"


@pytest.mark.slow
@pytest.mark.parametrize("by", ["resume", "torchrun"])
def test_a_run_that_goes_on_draws_the_views_mixes_them_and_tells_what_it_began_with(by, tmp_path, monkeypatch):
    data = signs.write(tmp_path / "shoes", "shoes", train=60, test=2)
    network = tk.zoo.create("timm:test_resnet", weights="none", num_classes=10, image_size=32)
    files.write_safetensors(tmp_path / "weights.safetensors", network.model.state_dict())
    options = TINY | {"weights": str(tmp_path / "weights.safetensors"), "strategy": "finetune", "epochs": 2}
    options |= {"batch_size": 16, "mixup": 0.2, "cutmix": 1.0}
    whole = tk.finetune(data, out=tmp_path / "whole", **options)
    with pytest.raises(StoppedError):
        tk.finetune(data, out=tmp_path / "run", progress=Stopping("epoch 2"), **options)
    if by == "torchrun":  # with the options that it was started with
        monkeypatch.setattr(ranks, "was_restarted", lambda: True)
        resumed = tk.finetune(data, out=tmp_path / "run", **options)
    else:
        resumed = tk.finetune(out=tmp_path / "run", resume=True)
    assert weights(resumed) == weights(whole)
    assert resumed.metrics["notes"] == whole.metrics["notes"]
    assert "mirror images turn left into right: not used" in resumed.metrics["notes"]


def test_random_weights_are_asked_nothing(made):
    prepared = prepare(made("arrows"), strategy="finetune", **TINY)
    _, _, config, record = policy.tried(prepared, *read_images(prepared, Progress()), Progress())
    assert (config.augment, record) == ("default", {})


def test_nothing_is_added_on_the_word_of_a_probe_that_knows_nothing():
    rng = np.random.default_rng(0)
    plain, labels = rng.normal(size=(120, 2)).astype(np.float32), np.arange(120) % 3
    assert run("light", plain, labels, dict.fromkeys(("crop", "mirror", "flip", "turn"), plain)).augment == "light"
