"""Networks side by side are one: their features under one head, saved, opened and exported like any other."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

import transferkit as tk
from tests.conftest import write_digits
from transferkit.ship import artifact
from transferkit.ship.artifact import Artifact
from transferkit.ship.classifier import load
from transferkit.zoo import create, describe, hashes, side_by_side
from transferkit.zoo.card import INTERPOLATIONS, Preprocessing
from transferkit.zoo.catalog import files_of
from transferkit.zoo.errors import ModelFileError, UsageError
from transferkit.zoo.side_by_side import Prepare
from transferkit.zoo.stages import name_groups

PAIR = "cifar_resnet+cifar_mlp"
UNLIKE = "cifar_resnet+efficientnet_lite0"  # 32 and 224 px, and other means


@pytest.fixture(scope="module")
def pair():
    return create(UNLIKE, num_classes=3)


def test_each_network_sees_the_image_as_it_was_trained_to(pair):
    small, large = (create(name, num_classes=3) for name in UNLIKE.split("+"))
    assert pair.card.preprocessing == large.card.preprocessing
    photo = torch.rand(2, 3, 224, 224)

    def normalised(x, model):
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (model.mean, model.std))
        return (x - mean) / std

    given = normalised(photo, large.card.preprocessing)
    size_px, mode = small.card.preprocessing.size_px, small.card.preprocessing.interpolation
    shrunk = functional.interpolate(photo, size_px, mode=mode, antialias=True)
    expected = small.features(normalised(shrunk, small.card.preprocessing)), large.features(given)
    torch.testing.assert_close(pair.features(given), torch.cat(expected, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("size_px", [(24, 31), (48, 63)])
def test_an_image_is_resized_by_the_filter_of_the_network_it_is_for(interpolation, size_px):
    given = Preprocessing(size_px=(36, 40), interpolation="nearest")
    wanted = Preprocessing(size_px=size_px, interpolation=interpolation)
    photo = np.random.default_rng(0).random((36, 40), np.float32)
    filter_ = Image.Resampling[interpolation.upper()]
    expected = np.array(Image.fromarray(photo).resize(size_px[::-1], filter_))
    found = Prepare(given, wanted)(torch.from_numpy(photo).expand(1, 3, -1, -1))
    assert np.allclose(found, expected, atol=1e-5)


def test_a_linear_head_over_all_features_is_a_head_for_each(pair):
    x, weight, bias = torch.randn(2, 3, 224, 224), torch.randn(3, pair.num_features), torch.randn(3)
    pair.set_linear(weight, bias)
    expected = functional.linear(pair.features(x), weight, bias)
    torch.testing.assert_close(pair(x), expected, rtol=1e-4, atol=1e-4)
    parts = side_by_side.bodies_of(pair)
    seen = [prepare(x) for prepare in pair.model.prepares]
    mean = torch.stack([part(image) for part, image in zip(parts, seen)]).mean(0)
    torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-4)
    assert side_by_side.bodies_of(parts[0]) == []
    alone = [create(name) for name in UNLIKE.split("+")]
    assert [(part.heads, part.stages) for part in parts] == [(each.heads, each.stages) for each in alone]


def test_its_stages_are_named_as_the_networks_name_theirs(pair):
    middle = ("blocks.0", "stage1+blocks.1", "blocks.2", "stage2+blocks.3", "blocks.4", "stage3+blocks.5", "blocks.6")
    assert pair.stages == ("stem+conv_stem", *middle, "fc+classifier")
    alone = create("efficientnet_lite0")
    twice = side_by_side.join([alone, create("efficientnet_lite0")])
    assert twice.stages == alone.stages
    parameters = [name for name, _ in twice.stage_parameters()["blocks.1"]]
    own = [name for name, _ in alone.stage_parameters()["blocks.1"]]
    assert parameters == [f"bodies.{number}.{name}" for number in (0, 1) for name in own]


def test_stages_that_would_have_one_name_keep_their_long_ones():
    groups = [["0.a.bias", "1.b.bias", "2.a.bias"], ["1.a.bias", "2.b.bias"]]
    found = name_groups(groups, {}, bodies=("0.", "1.", "2."))
    assert list(found.values()) == groups
    assert all(name in ("0", "0.a", "1.a", "1.b", "2.a", "2.b") for name in found)


def test_it_is_cut_and_frozen_like_any_other(pair):
    x, stage = torch.randn(2, 3, 224, 224), pair.stages[1]
    below, above = pair.split(stage)
    assert not isinstance(below, torch.nn.Identity)
    handed = below(x)
    assert [each.shape[1] for each in handed] == [24, 16]  # channels of each network, and no images
    torch.testing.assert_close(above(handed), pair(x))
    pair.freeze(pair.stages[:2])
    frozen = [name for name, parameter in pair.model.named_parameters() if not parameter.requires_grad]
    assert {name.split(".")[1] for name in frozen} == {"0", "1"}
    pair.freeze(())


def test_its_card_is_that_of_all_of_them():
    card, first, second = describe(UNLIKE), describe("cifar_resnet"), describe("efficientnet_lite0")
    assert card.name == UNLIKE
    assert card.parameters == first.parameters + second.parameters
    assert card.license == first.license == second.license == "Apache-2.0"
    assert len(files_of(PAIR)) == 2


def test_what_is_wrong_is_said_of_the_network_that_it_is_wrong_of(tmp_path):
    with pytest.raises(UsageError, match="did you mean cifar_resnet"):
        create("cifar_mlp+cifar_resnett")
    with pytest.raises(UsageError, match="a file of weights is for one network"):
        create(PAIR, weights=tmp_path / "file.safetensors")
    with pytest.raises(UsageError, match="up to 8"):
        create("+".join(["cifar_mlp"] * 9))
    assert create(PAIR, weights="none", num_classes=2).num_classes == 2


def test_a_folder_with_the_sign_in_its_name_is_a_folder(tmp_path):
    made = create("cifar_resnet", num_classes=2)
    about = {"classes": ("a", "b"), "preprocessing": made.card.preprocessing, "record": {}}
    artifact.save(tmp_path / "a+b", Artifact(backbone=made, **about))
    assert create(tmp_path / "a+b").num_classes == 2


PLAIN = {"augment": "none", "precision": "fp32", "l2": 0.01}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Digits, and a probe of two networks on them."""
    data = write_digits(tmp_path_factory.mktemp("pair") / "data", classes=(0, 1, 4), per_class=8)
    return tk.finetune(data, backbone=UNLIKE, strategy="probe", out=data.parent / "run", **PLAIN)


def test_the_artefact_answers_as_the_run_did_and_its_members_are_plain_models(run):
    assert run.metrics["backbone"] == UNLIKE
    photos = sorted((run.folder.parent / "data").rglob("*.png"))[::5]
    whole, *members = (load(run.folder / "model" / name) for name in ("", "members/0", "members/1"))
    labels = [f"digit {path.parent.name[-1]}" for path in photos]
    assert [each.label for each in whole.predict(photos)] == labels
    assert members[0].artifact.preprocessing == create("cifar_resnet").card.preprocessing

    import timm

    timm.create_model(f"local-dir:{run.folder / 'model' / 'members' / '1'}", pretrained=True)
    text = (run.folder / "model" / "README.md").read_text()
    assert "`members/0` (`cifar_resnet`), `members/1` (`efficientnet_lite0`)" in text
    assert "timm.create_model" not in text


@pytest.mark.slow  # the same of features of several depths: test_depths.py
def test_training_goes_on_from_its_folder_and_through_all_of_it(run, tmp_path):
    data = run.folder.parent / "data"
    tiny = {"backbone": "timm:test_resnet+timm:test_efficientnet", "weights": "none", "image_size": 32} | PLAIN
    first = tk.finetune(data, out=tmp_path / "first", strategy="probe", **tiny)
    options = {"strategy": "finetune", "epochs": 1, "batch_size": 12, "device": "cpu"} | PLAIN
    again = tk.finetune(data, backbone=str(first.folder), out=tmp_path / "again", **options)
    before, after = (load(each.folder).artifact.backbone.model.state_dict() for each in (first, again))
    moved = {name.split(".")[1] for name in before if "conv" in name and not before[name].equal(after[name])}
    assert moved == {"0", "1"}
    assert again.metrics["backbone"] == str(first.folder / "model")


def test_a_spec_of_strangers_is_read_within_bounds(run, tmp_path):
    config = json.loads((run.folder / "model" / "config.json").read_text())
    bodies = config["transferkit"]["spec"]["bodies"]
    nested = [{**bodies[0], "spec": {**bodies[0]["spec"], "family": "side_by_side"}}] * 2
    for wrong in (bodies[:1], bodies * 5, nested, [*bodies, {}]):
        config["transferkit"]["spec"]["bodies"] = wrong
        target = tmp_path / str(len(list(tmp_path.iterdir())))
        target.mkdir()
        for name in ("model.safetensors", "config.json"):
            (target / name).write_bytes((run.folder / "model" / name).read_bytes())
        (target / "config.json").write_text(json.dumps(config))
        hashes.write(target, ["model.safetensors", "config.json"])
        with pytest.raises(ModelFileError, match=r"refused|cannot build"):
            artifact.load(target)


@pytest.mark.slow
def test_it_becomes_one_graph(run, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    classifier = load(run.folder)
    path = classifier.export("onnx", tmp_path / "pair.onnx", images=run.folder.parent / "data")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {"photos": np.zeros((1, 90, 120, 3), np.uint8)})[0]
    assert found.shape == (1, 3)
