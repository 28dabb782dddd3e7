"""A file of weights brings the configuration of the model folder that it lies in."""

import json
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

from transferkit import zoo
from transferkit.ship import artifact
from transferkit.zoo.errors import ModelFileError

CFG = {"input_size": [3, 96, 96], "interpolation": "bilinear", "crop_pct": 0.75, "mean": [0.5] * 3, "std": [0.25] * 3}


@pytest.fixture
def folder(tmp_path):
    """A model folder in timm's format, whose preprocessing is not the one that timm's name has."""
    model = timm.create_model("test_resnet", num_classes=1000)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "test_resnet", "num_classes": 1000, "pretrained_cfg": CFG}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def change(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def saved(folder, name):
    """The weights of a model folder that transferkit wrote, of a network that sees 48 pixels."""
    own, classes = zoo.create(f"torchvision:{name}", weights="none", num_classes=3), ("a", "b", "c")
    preprocessing = replace(own.card.preprocessing, size_px=(48, 48))
    record = {"strategy": "probe"}
    artifact.save(folder, artifact.Artifact(backbone=own, classes=classes, preprocessing=preprocessing, record=record))
    return folder / "model.safetensors"


def test_images_are_prepared_as_the_folder_of_the_weights_says(folder):
    whole, alone = zoo.create(folder), zoo.create("timm:test_resnet", weights=folder / "model.safetensors")
    assert alone.card.preprocessing == whole.card.preprocessing != zoo.describe("timm:test_resnet").preprocessing
    assert alone.card.preprocessing.interpolation == "bilinear"
    assert alone.card.name == "test_resnet"
    assert alone.card.sha256 == whole.card.sha256
    images = torch.randn(2, 3, 96, 96)
    assert torch.equal(alone(images), whole(images))


def test_an_image_size_that_is_asked_for_counts_more(folder):
    found = zoo.create("timm:test_resnet", weights=folder / "model.safetensors", image_size=64)
    assert found.card.preprocessing == replace(zoo.create(folder).card.preprocessing, size_px=(64, 64))


@pytest.mark.parametrize(
    "without",
    [
        lambda folder: change(folder, architecture="resnet18"),
        lambda folder: change(folder, architecture=None),
        lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}'),
        lambda folder: (folder / "config.json").unlink(),
    ],
    ids=["of another network", "of no network", "of another library", "none"],
)
def test_another_configuration_beside_the_weights_is_none(folder, without):
    without(folder)
    found = zoo.create("timm:test_resnet", weights=folder / "model.safetensors")
    assert found.card.preprocessing == zoo.describe("timm:test_resnet").preprocessing


def test_a_file_that_is_not_the_weights_of_the_folder_has_no_configuration(folder):
    file = (folder / "model.safetensors").rename(folder / "other.safetensors")
    found = zoo.create("timm:test_resnet", weights=file)
    assert found.card.preprocessing == zoo.describe("timm:test_resnet").preprocessing


def test_the_model_folder_of_a_run_counts_too_and_must_be_what_was_saved(tmp_path):
    file = saved(tmp_path / "model", "squeezenet1_1")
    card = zoo.create("torchvision:squeezenet1_1", weights=file).card
    assert card.name == "torchvision:squeezenet1_1"
    assert card.preprocessing.size_px == (48, 48)
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(ModelFileError, match=r"config\.json is not the file that was saved"):
        zoo.create("torchvision:squeezenet1_1", weights=file)


def test_a_configuration_that_claims_to_be_of_the_network_is_checked_as_a_strangers(folder):
    change(folder, model_args={"no_jit": True})
    with pytest.raises(ModelFileError, match="sets the argument 'no_jit', which a model may not choose"):
        zoo.create("timm:test_resnet", weights=folder / "model.safetensors")
    change(folder, model_args={"channels": [100000, 100000, 100000, 100000]})
    with pytest.raises(ModelFileError):
        zoo.create("timm:test_resnet", weights=folder / "model.safetensors")


def test_a_name_that_two_libraries_have_is_of_the_one_that_was_asked_for(tmp_path):
    file = saved(tmp_path / "model", "resnet18")
    found = zoo.create("timm:resnet18", weights=file)
    assert found.card.preprocessing == zoo.describe("timm:resnet18").preprocessing
