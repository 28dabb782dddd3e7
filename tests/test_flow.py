"""The main job on real files, from images to a classifier that is read back."""

import csv
import functools
import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import transferkit as tk
from tests.conftest import write_digits
from transferkit.data.decode import decode, eval_view
from transferkit.progress import Progress
from transferkit.zoo import files
from transferkit.zoo.errors import DataError, RunConflictError, StoppedError

DRAWS = True  # curves, each time: tests/conftest.py

FAST = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "augment": "light", "batch_size": 8}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow") / "digits"
    write_digits(folder / "train", classes=(0, 1, 4), per_class=12)
    write_digits(folder / "test", classes=(0, 1, 4), per_class=6)
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "r"
    return tk.finetune(data, out=str(out), strategy="lp-ft", epochs=2, workers=2, **FAST)


@pytest.fixture(scope="module")
def run_of(data, tmp_path_factory):
    """The run of a strategy with one epoch, the same for all tests."""
    folder = tmp_path_factory.mktemp("strategies")
    return functools.cache(lambda name: tk.finetune(data, out=str(folder / name), strategy=name, epochs=1, **FAST))


def test_a_run_folder_holds_all_that_the_contract_names(run):
    names = {path.name for path in run.folder.iterdir()}
    assert names == {
        "run.json", "manifest.csv", "quarantine.csv", "metrics.jsonl", "metrics.json", "predictions.csv",
        "heat_maps.json", "unseen.safetensors", "report.html", "curves.png", "model",
    }  # fmt: skip
    assert {path.name for path in (run.folder / "model").iterdir()} == {
        "model.safetensors", "familiarity.safetensors", "config.json", "README.md", "MANIFEST.json",
    }  # fmt: skip
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics == run.metrics
    assert metrics["classes"] == ["digit 0", "digit 1", "digit 4"]
    assert metrics["test"]["n"] == 18
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert {line["phase"] for line in lines} == {"probe", "finetune"}
    assert all({"epoch", "phase", "lr", "train", "val", "seconds"} <= line.keys() for line in lines)


def test_the_model_opens_in_plain_timm_with_equal_logits(run, data):
    classifier = run.classifier
    plain = timm.create_model(f"local-dir:{run.folder / 'model'}", pretrained=True).eval()
    pixels = [
        eval_view(decode(path), classifier.artifact.preprocessing)
        for path in sorted((data / "test").rglob("*.png"))[:8]
    ]
    mean, std = (torch.tensor(plain.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    x = (torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        assert torch.allclose(plain(x), classifier.artifact.backbone(x), atol=1e-6)
    assert plain.pretrained_cfg["label_names"] == list(classifier.classes)


def test_evaluate_repeats_the_test_score_of_the_run(run, data):
    scores = run.classifier.evaluate(data)
    assert scores["part"] == "test"
    assert scores["confusion"] == run.metrics["test"]["confusion"]
    assert scores["loss"] == pytest.approx(run.metrics["test"]["loss"], abs=1e-4)


def test_the_manifest_of_a_run_is_a_data_set_that_repeats_it_with_any_number_of_workers(run, tmp_path):
    options = {"config_file": run.folder / "run.json", "workers": 0}
    again = tk.finetune(run.folder / "manifest.csv", out=str(tmp_path / "again"), **options)
    assert files.sha256(again.folder / "model" / "model.safetensors") == files.sha256(
        run.folder / "model" / "model.safetensors"
    )


@pytest.mark.slow
def test_another_seed_makes_another_model(run_of, data, tmp_path):
    other = tk.finetune(data, out=str(tmp_path / "r"), strategy="finetune", epochs=1, seed=1, **FAST)
    assert files.sha256(other.folder / "model" / "model.safetensors") != files.sha256(
        run_of("finetune").folder / "model" / "model.safetensors"
    )


@pytest.mark.parametrize("strategy", ["probe", "finetune", pytest.param("auto", marks=pytest.mark.slow)])
def test_every_strategy_ends_in_a_classifier_that_predicts(run_of, data, strategy):
    run = run_of(strategy)
    assert run.metrics["chosen"] in {"probe": ["probe"], "finetune": ["finetune"], "auto": ["probe", "lp-ft"]}[strategy]
    (prediction,) = run.classifier.predict(next((data / "test").rglob("*.png")), top=3)
    assert sum(probability for _, probability in prediction.top) == pytest.approx(1)
    assert prediction.label == prediction.top[0][0]


def test_a_bad_image_is_quarantined_named_and_never_replaced(data, tmp_path):
    folder = tmp_path / "data"
    write_digits(folder, classes=(0, 1), per_class=10)
    (folder / "digit 0" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "digit 1" / "page.png").write_text("<html>")
    (folder / ".ipynb_checkpoints").mkdir()
    run = tk.finetune(folder, out=str(tmp_path / "r"), strategy="probe", **FAST)
    with open(run.folder / "quarantine.csv", newline="") as file:
        quarantined = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert quarantined == {"digit 0/broken.jpg": "damaged header", "digit 1/page.png": "not an image (HTML or XML)"}
    with open(run.folder / "manifest.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 20
    assert [path for path, _ in json.loads((run.folder / "run.json").read_text())["data"]["ignored"]] == [
        ".ipynb_checkpoints"
    ]


def test_a_class_without_a_readable_image_is_refused_by_name(tmp_path):
    write_digits(tmp_path / "data", classes=(0,), per_class=4)
    (tmp_path / "data" / "ghost").mkdir()
    (tmp_path / "data" / "ghost" / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"'ghost' has no readable image to train on .*empty file"):
        tk.finetune(tmp_path / "data", out=str(tmp_path / "r"), strategy="probe", **FAST)


@pytest.mark.parametrize("strategy", ["finetune", "auto"])  # auto has a probe, too
def test_two_classes_of_two_images_are_enough(tmp_path, strategy):
    write_digits(tmp_path / "data", classes=(0, 1), per_class=2)
    run = tk.finetune(tmp_path / "data", out=str(tmp_path / "r"), strategy=strategy, epochs=1, **FAST)
    assert run.metrics["val"]["n"] in (2, 4)
    assert run.metrics["chosen"] in ("finetune",) if strategy == "finetune" else ("probe", "lp-ft")
    (prediction,) = run.classifier.predict(tmp_path / "data" / "digit 0" / "000.png")
    assert prediction.label in ("digit 0", "digit 1")


def test_one_image_a_class_cannot_be_validated_and_says_so(tmp_path):
    write_digits(tmp_path / "data", classes=(0, 1), per_class=1)
    with pytest.raises(DataError, match="too few images to validate"):
        tk.finetune(tmp_path / "data", out=str(tmp_path / "r"), strategy="probe", **FAST)


class Interrupting(Progress):
    """Stops a run when its second epoch is over."""

    def note(self, figures):
        if figures.startswith("epoch 2/"):
            raise StoppedError("stopped by SIGTERM")


def metrics_lines(folder):
    """All lines of metrics.jsonl, times aside."""
    return [json.loads(line) | {"seconds": None} for line in (folder / "metrics.jsonl").read_text().splitlines()]


RESUMED = {  # what can differ after a stop: moments of the optimiser, cycles, what is frozen
    "lp-ft": {"strategy": "lp-ft"},
    "adam": {"strategy": "finetune", "optimizer": "adam"},
    "momentum": {"strategy": "finetune", "optimizer": "momentum"},
    "snapshots": {"strategy": "finetune", "snapshots": 3},
    "frozen": {"strategy": "finetune", "freeze": "layer2", "views": 2, "dropout": 0.2},
}


# those that are slow have their laws in tests/train: the optimisers in test_state.py, the snapshots in test_descent.py
@pytest.mark.parametrize(
    ("name", "refits"),
    [
        ("lp-ft", True),
        *(pytest.param(name, False, marks=pytest.mark.slow) for name in RESUMED),
    ],
)
def test_an_interrupted_run_resumed_has_the_bytes_of_one_that_was_not(name, refits, data, tmp_path, monkeypatch):
    if not refits:
        monkeypatch.setattr("transferkit.train.problem.REFIT_IMAGES", 0)
    options = dict(epochs=3, precision="fp32", **RESUMED[name], **FAST)
    straight = tk.finetune(data, out=str(tmp_path / "straight"), **options)
    out = str(tmp_path / "r")
    with pytest.raises(StoppedError):
        tk.finetune(data, out=out, progress=Interrupting(), **options)
    with pytest.raises(RunConflictError, match="--overwrite or --resume"):
        tk.finetune(data, out=out, **options)
    resumed = tk.finetune(resume=True, out=out)
    assert metrics_lines(resumed.folder) == metrics_lines(straight.folder)
    assert [line["epoch"] for line in metrics_lines(straight.folder) if line["phase"] == "finetune"] == [0, 1, 2]
    weights = [
        {path.relative_to(folder): files.sha256(path) for path in folder.glob("model/**/model.safetensors")}
        for folder in (straight.folder, resumed.folder)
    ]
    assert weights[0] == weights[1]
    assert not (resumed.folder / "checkpoints").exists()


def test_a_run_cannot_be_resumed_on_other_images(data, tmp_path):
    folder = tmp_path / "data"
    write_digits(folder, classes=(0, 1), per_class=8)
    run = tk.finetune(folder, out=str(tmp_path / "r"), strategy="probe", **FAST)
    Image.new("RGB", (32, 32)).save(folder / "digit 0" / "new.png")
    with pytest.raises(RunConflictError, match="not those"):
        tk.finetune(resume=True, out=str(run.folder))


@pytest.mark.parametrize("balance", ["weights", pytest.param("sampler", marks=pytest.mark.slow)])  # tests/train
def test_balancing_runs_on_a_folder_with_a_rare_class(tmp_path, balance):
    write_digits(tmp_path / "data", classes=(0,), per_class=24)
    write_digits(tmp_path / "data2", classes=(1,), per_class=3)
    (tmp_path / "data2" / "digit 1").rename(tmp_path / "data" / "digit 1")
    run = tk.finetune(
        tmp_path / "data", out=str(tmp_path / "r"), strategy="finetune", epochs=1, balance=balance, **FAST
    )
    assert run.metrics["val"]["n"] >= 5
