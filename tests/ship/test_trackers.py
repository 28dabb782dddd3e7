"""A run is told to experiment trackers as it goes, and read back from their own files."""

import json
import os
from typing import ClassVar

import numpy as np
import pytest

import transferkit as tk
from transferkit.choices import TRACKERS
from transferkit.progress import Progress
from transferkit.ship import trackers
from transferkit.zoo.errors import StoppedError, UsageError

DRAWS = True  # curves, each time: tests/conftest.py

FAST = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "augment": "none"}


def lines_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def events(folder):
    """What TensorBoard reads in the folder of a run."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return found


def points(found, tag):
    return [(event.step, pytest.approx(event.value, rel=1e-5)) for event in found.Scalars(tag)]


def test_tensorboard_shows_the_lines_the_scores_the_curves_and_the_confusion(digit_folder, tmp_path):
    run = tk.finetune(digit_folder, out=str(tmp_path / "r"), strategy="finetune", epochs=3, log="tensorboard", **FAST)
    found, lines = events(run.folder), lines_of(run.folder)
    for tag, part, key in (("train/loss", "train", "loss"), ("val/accuracy", "val", "accuracy")):
        assert points(found, tag) == [(line["epoch"], line[part][key]) for line in lines]
    assert points(found, "lr") == [(line["epoch"], line["lr"]) for line in lines]
    assert points(found, "result/val/loss") == [(0, run.metrics["val"]["loss"])]
    assert {"confusion"} < set(found.Tags()["images"])
    (text,) = found.Tensors("options/text_summary")
    assert "strategy: finetune" in text.tensor_proto.string_val[0].decode()


@pytest.mark.slow  # what a resumed run tells anybody: tests/test_resume.py
def test_a_run_that_is_resumed_tells_all_its_lines_once(digit_folder, tmp_path, monkeypatch):
    out, plain = str(tmp_path / "r"), trackers.Listeners.line

    def stop(self, line):
        plain(self, line)
        if line["epoch"] == 1:
            raise StoppedError("stopped")

    options = FAST | {"strategy": "finetune", "epochs": 4, "patience": 100}
    monkeypatch.setattr(trackers.Listeners, "line", stop)
    with pytest.raises(StoppedError):
        tk.finetune(digit_folder, out=out, log="tensorboard", **options)
    monkeypatch.setattr(trackers.Listeners, "line", plain)
    run = tk.finetune(out=out, resume=True)
    found = events(run.folder)
    assert [step for step, _ in points(found, "val/loss")] == [0, 1, 2, 3]
    assert points(found, "val/loss") == [(line["epoch"], line["val"]["loss"]) for line in lines_of(run.folder)]


@pytest.mark.slow
def test_mlflow_has_the_options_the_figures_and_how_it_ended(digit_folder, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    run = tk.finetune(digit_folder, out=str(tmp_path / "r"), strategy="probe", log="mlflow", **FAST)
    client = MlflowClient()
    experiment = client.get_experiment_by_name("transferkit")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.status, found.info.run_name) == ("FINISHED", str(run.folder))
    assert found.data.params["strategy"] == "probe"
    history = client.get_metric_history(found.info.run_id, "probe/val/loss")
    assert [(each.step, each.value) for each in history] == [
        (line["epoch"], line["val"]["loss"]) for line in lines_of(run.folder)
    ]
    assert found.data.metrics["result/val/accuracy"] == run.metrics["val"]["accuracy"]
    assert "confusion.png" in [each.path for each in client.list_artifacts(found.info.run_id)]


class Fails(trackers.Tracker):
    name = "tensorboard"

    def __init__(self, folder, name, options):
        self.count = 0
        if options.get("seed") == 9:
            raise OSError("no  such\nserver")

    def scalars(self, values, step):
        self.count += 1
        if self.count > 1:
            raise ConnectionError("the server is away")

    def picture(self, name, png): ...

    def end(self, *, is_complete): ...


def test_a_tracker_that_fails_is_told_of_once_and_the_run_goes_on_but_does_not_begin_without(
    digit_folder, tmp_path, monkeypatch
):
    monkeypatch.setitem(trackers.TABLE, "tensorboard", Fails)
    heard = []

    class Heard(Progress):
        def say(self, line):
            heard.append(line)

    options = {"strategy": "finetune", "epochs": 3, "log": "tensorboard", **FAST}
    run = tk.finetune(digit_folder, out=str(tmp_path / "r"), progress=Heard(), **options)
    assert heard.count("tensorboard hears no more of this run: ConnectionError: the server is away") == 1
    assert (run.folder / "report.html").is_file()
    with pytest.raises(UsageError, match=r"^--log tensorboard: OSError: no such server$"):
        tk.finetune(digit_folder, out=str(tmp_path / "s"), seed=9, **options)
    assert not (tmp_path / "s").exists()


class Keeps(trackers.Tracker):
    name = "tensorboard"
    names: ClassVar[list[str]] = []

    def __init__(self, folder, name, options): ...

    def scalars(self, values, step):
        self.names.extend(values)

    def picture(self, name, png):
        self.names.append(name)

    def end(self, *, is_complete): ...


def test_of_networks_side_by_side_each_probe_has_a_name_that_all_trackers_take(digit_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(trackers.TABLE, "tensorboard", Keeps)
    twice = {"backbone": "cifar_resnet+cifar_resnet", "strategy": "lp-ft", "epochs": 1, "freeze": "stage2"}
    run = tk.finetune(digit_folder, out=str(tmp_path / "r"), log="tensorboard", augment="none", **twice)
    caption = "Loss and accuracy over the L2 of the probe"
    assert {"probe/cifar_resnet__1_/l2", "probe/cifar_resnet__2_/val/loss"} < set(Keeps.names)
    assert f"{caption} of cifar_resnet (1)" in Keeps.names
    listeners = trackers.Listeners()
    listeners.open(tmp_path, {"log": "tensorboard"}, name="", say=print)
    line = next(each for each in lines_of(run.folder) if each["phase"] == "probe") | {"network": "hf-hub:a/b"}
    (run.folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    listeners.line(line)
    listeners.result(run.folder, run.metrics)
    assert {"probe/hf-hub_a_b/l2", f"{caption} of hf-hub:a_b"} < set(Keeps.names)
    listeners.line({key: value for key, value in line.items() if key != "network"})
    assert "probe/l2" in Keeps.names


def test_a_tracker_that_is_unknown_or_not_installed_is_named_before_anything_is_read(tmp_path, monkeypatch):
    assert set(TRACKERS) == set(trackers.TABLE)
    with pytest.raises(UsageError, match="--log neptune is unknown; allowed, with commas between: tensorboard, mlflow"):
        tk.finetune(tmp_path, log="tensorboard,neptune")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"--log mlflow needs its library: pip install 'transferkit\[mlflow\]'"):
        tk.finetune(tmp_path, log="mlflow")


def test_a_confusion_of_many_classes_and_of_odd_names_is_drawn():
    from transferkit.ship.pictures import confusion, pixels

    for classes in (["a$b", "$", "$\\frac{$"], [f"class {number}" for number in range(300)]):
        counts = np.eye(len(classes), dtype=int).tolist()
        assert pixels(confusion(counts, classes)).shape[2] == 3


@pytest.mark.skipif("WANDB_MODE" not in os.environ, reason="needs wandb and WANDB_MODE=offline")
def test_wandb_writes_an_offline_run(digit_folder, tmp_path):
    pytest.importorskip("wandb")
    tk.finetune(digit_folder, out=str(tmp_path / "r"), strategy="probe", log="wandb", **FAST)
    assert list((tmp_path / "r" / "wandb").glob("offline-run-*/run-*.wandb"))


def test_aim_has_the_options_the_figures_and_the_confusion(digit_folder, tmp_path, monkeypatch):
    aim = pytest.importorskip("aim")
    monkeypatch.chdir(tmp_path)
    run = tk.finetune(digit_folder, out=str(tmp_path / "r"), strategy="probe", log="aim", **FAST)
    from aim.sdk.index_manager import RepoIndexManager
    from aim.storage.context import Context

    repo = aim.Repo(str(tmp_path))
    (number,) = repo.list_all_runs()
    RepoIndexManager.get_index_manager(repo).index(number)  # as `aim up` does
    found = repo.get_run(number)
    assert (found.name, found.experiment, found["options"]["strategy"]) == (str(run.folder), "transferkit", "probe")
    assert found.props.tags == ["complete"]
    history = found.get_metric("probe/val/loss", Context({})).data.view("val").items()
    expected = [(line["epoch"], line["val"]["loss"]) for line in lines_of(run.folder)]
    assert [(step, value) for step, (value,) in history] == expected
    assert found.get_image_sequence("confusion", Context({}))
