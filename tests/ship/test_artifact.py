"""The model folder: what is saved comes back bit for bit, plain timm reads it too, and damage is found."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from transferkit.model.build import Backbone, create
from transferkit.ship import artifact
from transferkit.trust import Sureness, Trust, familiarity
from transferkit.zoo import hashes
from transferkit.zoo.errors import ModelFileError, UsageError
from transferkit.zoo.files import sha256

CLASSES = ("ant", "bee", "<wasp>`")


def made(name: str, **options) -> Backbone:
    """A network with random weights, none of them at a value that a fresh one has too."""
    torch.manual_seed(0)
    backbone = create(name, num_classes=len(CLASSES), weights="none", **options)
    with torch.no_grad():
        for tensor in backbone.model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.01 * torch.rand_like(tensor))
    return backbone.eval()


def saved(folder: Path, backbone: Backbone) -> Path:
    record = {"strategy": "probe", "test": {"accuracy": 0.9125, "n": 240}}
    artifact.save(
        folder,
        artifact.Artifact(backbone=backbone, classes=CLASSES, preprocessing=backbone.card.preprocessing, record=record),
    )
    return folder


def pixels(backbone: Backbone) -> torch.Tensor:
    return torch.rand(2, 3, *backbone.card.preprocessing.size_px, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A saved test_resnet; tests that damage it work on a copy."""
    return saved(tmp_path_factory.mktemp("model") / "model", made("timm:test_resnet", image_size=32))


def padded_like_tensorflow(tmp_path: Path) -> str:
    """A plain timm folder whose `model_args` change the answers."""
    model = timm.create_model("mobilenetv2_035", num_classes=5, pad_type="same")
    cfg = {"input_size": [3, 64, 64], "classifier": "classifier", "first_conv": "conv_stem"}
    config = {
        "architecture": "mobilenetv2_035",
        "num_classes": 5,
        "model_args": {"pad_type": "same"},
        "pretrained_cfg": cfg,
    }
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


@pytest.mark.parametrize("name", ["resnet10t", "deit_tiny_distilled_patch16_224", "levit_128s", "with model_args"])
def test_plain_timm_gives_the_same_logits_bit_for_bit(name, tmp_path):
    (tmp_path / "plain").mkdir()
    backbone = made(padded_like_tensorflow(tmp_path / "plain") if name == "with model_args" else name)
    saved(tmp_path / "model", backbone)
    native = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
    ours = artifact.load(tmp_path / "model")
    x = pixels(backbone)
    with torch.no_grad():
        assert torch.equal(native(x), backbone(x))
        assert torch.equal(ours.backbone(x), backbone(x))
    assert native.pretrained_cfg["label_names"] == list(CLASSES)
    assert tuple(timm.data.resolve_data_config(model=native)["input_size"][1:]) == backbone.card.preprocessing.size_px


@pytest.mark.parametrize("name", ["torchvision:squeezenet1_1", "torchvision:resnet18"])
def test_a_network_that_is_not_timms_comes_back_bit_for_bit(name, tmp_path):
    backbone = made(name, image_size=64)
    ours = artifact.load(saved(tmp_path / "model", backbone))
    with torch.no_grad():
        assert torch.equal(ours.backbone(pixels(backbone)), backbone(pixels(backbone)))


def test_classes_preprocessing_record_and_origin_come_back(tmp_path):
    backbone = made("timm:test_resnet", image_size=32)
    backbone.card = dataclasses.replace(backbone.card, license="apache-2.0", source="https://example.org/weights")
    loaded = artifact.load(saved(tmp_path / "model", backbone))
    assert loaded.classes == CLASSES == loaded.backbone.card.classes
    assert loaded.preprocessing == backbone.card.preprocessing
    assert loaded.preprocessing.size_px == (32, 32)
    assert loaded.record["test"] == {"accuracy": 0.9125, "n": 240}
    assert (loaded.backbone.card.license, loaded.backbone.card.source) == ("apache-2.0", "https://example.org/weights")


def test_the_same_model_is_saved_as_the_same_bytes(folder, tmp_path):
    again = saved(tmp_path / "model", made("timm:test_resnet", image_size=32))
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["MANIFEST.json", "README.md", "config.json", "model.safetensors"]
    assert all((folder / name).read_bytes() == (again / name).read_bytes() for name in names)


def test_a_run_folder_is_opened_by_its_model(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run" / "model")
    assert artifact.load(tmp_path / "run").classes == CLASSES


def test_a_plain_timm_folder_without_label_names_has_numbered_classes(tmp_path):
    loaded = artifact.load(padded_like_tensorflow(tmp_path))
    assert loaded.classes == ("0", "1", "2", "3", "4")


def test_the_model_card_tells_scores_licence_and_classes_as_text(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| test | 91.2 % | 240 |" in card
    assert "`<wasp>'`" in card
    assert 'timm.create_model("local-dir:FOLDER", pretrained=True)' in card


def test_a_flipped_bit_anywhere_in_the_weights_is_found(folder, tmp_path):
    damaged = shutil.copytree(folder, tmp_path / "model") / "model.safetensors"
    original = damaged.read_bytes()
    for position in np.random.default_rng(0).integers(len(original), size=8):
        content = bytearray(original)
        content[position] ^= 1 << int(position % 8)
        damaged.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"model\.safetensors is not the file that was saved"):
            artifact.load(damaged.parent)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "MANIFEST.json"])
def test_a_missing_file_is_named(folder, tmp_path, name):
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / name).unlink()
    with pytest.raises(ModelFileError, match=f"{name} is missing"):
        artifact.load(copy)


def test_each_check_parses_the_manifest_once(folder, monkeypatch):
    parsed, read = [], hashes.read_object
    monkeypatch.setattr(hashes, "read_object", lambda path: parsed.append(path.name) or read(path))
    for check in (
        lambda: hashes.own_block(folder),
        lambda: hashes.check(folder, ["model.safetensors", "README.md"]),
        lambda: hashes.check_listed(folder / "model.safetensors"),
    ):
        parsed.clear()
        check()
        assert parsed.count("MANIFEST.json") == 1


def rewritten(folder: Path, copy: Path, **changes) -> Path:
    """A copy of the folder with changes to the key `transferkit`, and a manifest that fits them."""
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    config["transferkit"] |= changes
    (copy / "config.json").write_text(json.dumps(config))
    return resigned(copy)


def resigned(copy: Path) -> Path:
    manifest = json.loads((copy / "MANIFEST.json").read_text())
    for name, listed in manifest["files"].items():
        listed["sha256"] = sha256(copy / name)
    (copy / "MANIFEST.json").write_text(json.dumps(manifest))
    return copy


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"spec": {"family": "timm", "architecture": "no_such_net", "model_args": {}}}, "config.json.*no_such_net"),
        ({"spec": {"family": "pickle", "architecture": "x", "model_args": {}}}, "config.json.*pickle:x"),
        ({"spec": []}, "config.json"),
        (
            {"classes": ["ant", "bee", "fly", "moth"]},
            "model.safetensors does not fit test_resnet: size mismatch for fc.weight",
        ),
        ({"classes": ["ant", "ant", "bee"]}, "config.json.*different names"),
        ({"preprocessing": {"mean": 3}}, "config.json"),
        ({"preprocessing": {"resample": "bicubic"}}, "config.json.*resample"),
        ({"format_version": 2}, "config.json.*format_version is 2"),
        ({"record": "x" * (1 << 20)}, "config.json is larger than the 1 MB"),
    ],
)
def test_a_config_that_cannot_be_honoured_is_refused_in_one_line(folder, tmp_path, changes, reason):
    copy = rewritten(folder, tmp_path / "model", **changes)
    with pytest.raises(ModelFileError, match=reason) as caught:
        artifact.load(copy)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "model")
    tensors = load_file(copy / "model.safetensors")
    tensors["fc.bias"][1] = torch.nan
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelFileError, match=r"model.safetensors is refused: fc.bias has values that are not finite"):
        artifact.load(resigned(copy))


def test_a_folder_without_a_model_and_an_unknown_name_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match="holds no model"):
        artifact.load(tmp_path)
    with pytest.raises(UsageError, match="no_such_network"):
        artifact.load("no_such_network")


def test_a_run_that_was_stopped_is_told_how_to_go_on(tmp_path):
    (tmp_path / "my photos").mkdir()
    (tmp_path / "my photos" / "run.json").write_text("{}")
    with pytest.raises(UsageError, match=r"not finished .* transferkit finetune --resume -o '.*my photos'$"):
        artifact.load(tmp_path / "my photos")


def test_class_names_and_outputs_must_be_as_many(tmp_path):
    backbone = made("timm:test_resnet", image_size=32)
    with pytest.raises(UsageError, match="2 class names for a network of 3 outputs"):
        artifact.save(
            tmp_path / "m",
            artifact.Artifact(
                backbone=backbone, classes=("a", "b"), preprocessing=backbone.card.preprocessing, record={}
            ),
        )
    assert list(tmp_path.iterdir()) == []


def test_a_record_too_large_to_be_read_back_is_refused_before_anything_is_written(tmp_path):
    backbone = made("timm:test_resnet", image_size=32)
    record = {"confusion": [[0] * 1000] * 1000}
    with pytest.raises(UsageError, match="larger than the 1 MB"):
        artifact.save(
            tmp_path / "m",
            artifact.Artifact(
                backbone=backbone, classes=CLASSES, preprocessing=backbone.card.preprocessing, record=record
            ),
        )
    assert list(tmp_path.iterdir()) == []


def trusted(folder: Path, backbone: Backbone) -> artifact.Artifact:
    """A model that knows which answers are sure and which images are familiar, saved."""
    features = np.random.default_rng(0).random((30, backbone.num_features), np.float32)
    known = familiarity.learn(features, np.arange(30) % 5, widths=backbone.widths)
    model = artifact.Artifact(
        backbone=backbone,
        classes=CLASSES,
        preprocessing=backbone.card.preprocessing,
        record={"calibration": {"temperature": 1.25, "images": 30}},
        trust=Trust(sureness=Sureness(points=((0.9, 0.01), (0.5, 0.2))), familiarity=known),
    )
    artifact.save(folder, model)
    return model


def test_what_is_sure_and_what_is_familiar_comes_back(tmp_path):
    model = trusted(tmp_path / "model", made("timm:test_resnet", image_size=32))
    loaded = artifact.load(tmp_path / "model")
    assert loaded.sureness == model.sureness
    features = torch.rand(5, model.backbone.num_features)
    before, after = (one(features) for each in (model, loaded) for one in each.familiarities)
    torch.testing.assert_close(after, before, rtol=0, atol=2e-3)  # it is kept in half precision
    card = (tmp_path / "model" / "README.md").read_text()
    assert "divided by 1.250" in card
    assert "unlike anything seen" in card


@pytest.mark.parametrize(
    "change",
    [
        {"basis": torch.zeros(3, 2), "directions": torch.zeros(4, 2)},
        {"basis": torch.zeros(96, 2), "directions": torch.zeros(4, 3)},
        {"basis": torch.zeros(96, 2), "directions": torch.zeros(0, 2)},
        {"basis": torch.full((96, 2), torch.nan), "directions": torch.zeros(4, 2)},
        {"basis": torch.zeros(96, 2)},
    ],
)
def test_features_that_do_not_fit_the_network_are_refused(tmp_path, change):
    folder = tmp_path / "model"
    trusted(folder, made("timm:test_resnet", image_size=32))
    save_file(change, folder / artifact.FAMILIAR)
    with pytest.raises(ModelFileError, match=r"familiarity.safetensors is not the file that was saved"):
        artifact.load(folder)
    hashes.write(folder, ["model.safetensors", artifact.FAMILIAR, "config.json", "README.md"])
    with pytest.raises(ModelFileError, match=r"familiarity.safetensors does not fit config.json"):
        artifact.load(folder)
