"""auto of few images: the first half of a pretrained network stays as it is, to the bit, unless it is to be trained."""

import json
import shutil

import pytest
import torch

import transferkit as tk
from transferkit.model import boundary
from transferkit.train import wise_ft


@pytest.fixture
def half_way(monkeypatch):
    """Half of the way is kept of all fits, whatever they come to."""
    monkeypatch.setattr(wise_ft, "_posterior_mean", lambda losses: 0.5)
    monkeypatch.setattr(wise_ft, "_is_ridge", lambda *given: False)
    monkeypatch.setattr(wise_ft, "_is_worse", lambda *given: False)


@pytest.mark.usefixtures("half_way")
@pytest.mark.parametrize(
    ("asked", "named", "views", "kept"),
    [
        (None, "stage1", 0, {"stem", "stage1"}),
        ("none", "none", 0, set()),
        ("stage1", "stage1", 2, {"stem", "stage1"}),
    ],
)
def test_half_of_a_pretrained_network_keeps_its_bits_unless_none_is_to_be_frozen(
    two_digits, tmp_path, monkeypatch, asked, named, views, kept
):
    monkeypatch.setattr(boundary, "saving", lambda *given, **named: 2.0)
    monkeypatch.setattr("transferkit.train.views.VIEWS", 2)
    run = tk.finetune(
        two_digits, out=tmp_path / "run", backbone="cifar_resnet", freeze=asked, strategy="auto", epochs=1, lr=0.01
    )
    config = json.loads((run.folder / "run.json").read_text())["config"]
    assert (config["freeze"], config["views"], config["val_fraction"]) == (named, views, 1 / 3)
    assert run.metrics["tried"]["fits"] == 3
    assert "epochs of each fit: 1" in run.metrics["notes"]
    assert ("frozen: stem, stage1" in run.metrics["notes"]) == bool(kept)
    before, after = tk.zoo.create("cifar_resnet"), tk.zoo.create(str(run.folder / "model"))
    for stage, parameters in before.stage_parameters().items():
        if stage != before.stages[-1]:
            trained = dict(after.stage_parameters()[stage])
            assert all(torch.equal(tensor, trained[name]) for name, tensor in parameters) == (stage in kept), stage


@pytest.mark.usefixtures("half_way")
def test_the_frozen_half_runs_once_for_each_epochs_view_of_an_image_whatever_the_number_of_fits(
    two_digits, tmp_path, monkeypatch
):
    seen, handed = [], boundary.Boundary.handed

    def counted(self, x, precision):
        seen.extend(x)
        return handed(self, x, precision)

    monkeypatch.setattr(boundary.Boundary, "handed", counted)
    run = tk.finetune(two_digits, out=tmp_path, backbone="cifar_resnet", epochs=2, precision="fp32", lr=0.001)
    assert (run.metrics["tried"]["fits"], run.metrics["tried"]["images"]) == (3, 30)
    assert json.loads((run.folder / "run.json").read_text())["config"]["views"] == 0
    assert len(seen) == 30 * (1 + 2) + 6  # as it is, and in the views of two epochs; those of the test as they are


@pytest.mark.usefixtures("half_way")
@pytest.mark.parametrize("divided", ["by --val-fraction", "by val/"])
def test_with_a_fifth_that_validates_there_are_five_fits(two_digits, tmp_path, divided):
    data, options = tmp_path / "data", {"val_fraction": 0.2} if divided == "by --val-fraction" else {}
    shutil.copytree(two_digits, data)
    if not options:
        for folder in sorted((data / "train").iterdir()):
            (data / "val" / folder.name).mkdir(parents=True)
            for photo in sorted(folder.iterdir())[:3]:
                photo.rename(data / "val" / folder.name / photo.name)
    run = tk.finetune(data, out=tmp_path / "run", backbone="cifar_resnet", epochs=1, lr=0.001, **options)
    assert (run.metrics["tried"]["fits"], run.metrics["tried"]["images"]) == (5, 30)
