"""What of the network was frozen by default is what a run is gone on with, and repeated with."""

import json
import shutil

import pytest
import torch

import transferkit as tk
from transferkit import config
from transferkit.progress import Progress
from transferkit.ship import begun
from transferkit.train import folds, wise_ft
from transferkit.zoo.errors import StoppedError, UsageError

GIVEN = {"data": "photos", "strategy": "auto", "freeze": None}
SMALL = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32}
AUTO = {"backbone": "cifar_resnet", "epochs": 2, "batch_size": 8}


class StoppedLate(Progress):
    def note(self, figures):
        if figures.startswith("epoch 2/2"):
            raise StoppedError("stopped")


def run_json(folder, **config):
    (folder / "run.json").write_text(json.dumps({"config": GIVEN | config, "given": GIVEN}))
    return folder / "run.json"


def recorded(run):
    return json.loads((run / "run.json").read_text())


@pytest.fixture
def half_way(monkeypatch):
    """One fit, of which a part is kept whatever it is worth."""
    monkeypatch.setattr(folds, "mixture", lambda *given: None)
    monkeypatch.setattr(wise_ft, "_posterior_mean", lambda losses: 0.5)
    monkeypatch.setattr(wise_ft, "_is_ridge", lambda *given: False)


@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("sgd", marks=pytest.mark.slow)])
def test_a_run_begun_when_no_stage_was_frozen_by_default_goes_on_with_all_of_them(
    two_digits, tmp_path, half_way, optimizer
):
    options = AUTO | {"optimizer": optimizer, "freeze": "none"}
    whole = tk.finetune(two_digits, out=tmp_path / "whole", **options)
    with pytest.raises(StoppedError):
        tk.finetune(two_digits, out=tmp_path / "run", progress=StoppedLate(), **options)
    record = recorded(tmp_path / "run")
    record["config"]["freeze"] = record["given"]["freeze"] = None
    (tmp_path / "run" / "run.json").write_text(json.dumps(begun.sealed(record)))
    resumed = tk.finetune(out=tmp_path / "run", resume=True)
    first, second = (tk.zoo.create(str(run.folder / "model")).model.state_dict() for run in (whole, resumed))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_a_run_json_without_frozen_stages_repeats_a_network_that_is_trained_whole(tmp_path):
    assert config.make(None, {}, file=run_json(tmp_path)).freeze == "none"
    assert config.make(None, {}, file=run_json(tmp_path, freeze="stage1")).freeze == "stage1"
    assert config.make(None, {}, file=run_json(tmp_path, strategy="probe")).freeze is None
    with pytest.raises(UsageError):
        config.make(None, {}, file=run_json(tmp_path, strategy=["auto"]))
    written = tmp_path / "mine.json"
    written.write_text(json.dumps(GIVEN))
    assert config.make(None, {}, file=written).freeze is None


@pytest.mark.parametrize(
    "changed", [{"backbone": "cifar_mlp"}, {"weights": "none"}, {"mixup": 0.2}, {"cutmix": 0.2}, {"views": 4}]
)
def test_what_was_frozen_by_default_is_worked_out_anew_for_another_network_or_other_views(changed, tmp_path):
    assert config.make(None, changed, file=run_json(tmp_path, freeze="stage1")).freeze is None


def test_a_run_of_which_nothing_is_frozen_says_so(two_digits, tmp_path):
    run = tk.finetune(two_digits, out=tmp_path / "run", strategy="finetune", epochs=1, **SMALL)
    assert (recorded(run.folder)["config"]["freeze"], recorded(run.folder)["given"]["freeze"]) == ("none", None)


def test_of_one_fit_the_report_says_what_was_frozen_as_well(two_digits, tmp_path, half_way):
    run = tk.finetune(two_digits, out=tmp_path / "run", **AUTO)
    assert run.metrics["chosen"] == "lp-ft"
    assert "frozen: stem, stage1" in run.metrics["notes"]


def test_whether_images_are_few_is_settled_before_one_of_them_is_read(two_digits, tmp_path, monkeypatch):
    monkeypatch.setattr("transferkit.train.problem.REFIT_IMAGES", 31)
    photos = tmp_path / "photos"
    shutil.copytree(two_digits, photos)
    for name in ("a", "b"):
        (photos / "train" / "digit 3" / f"{name}.png").write_bytes(b"no image")
    run = tk.finetune(photos, out=tmp_path / "run", backbone="cifar_resnet")
    made = recorded(run.folder)
    assert (made["config"]["freeze"], made["config"]["epochs"]) == ("none", 4)
    assert run.metrics["tried"]["fits"] == 1
    assert "then fitted to train and validation together" not in run.metrics["notes"]
