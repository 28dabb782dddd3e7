"""A head with features of earlier stages: built, cut, saved, opened and exported like that of any other network."""

import json

import numpy as np
import pytest
import timm
import torch
from torch.nn import functional

import transferkit as tk
from tests.conftest import write_digits
from transferkit.ship import artifact
from transferkit.ship.classifier import load
from transferkit.zoo import create, depths, describe, hashes
from transferkit.zoo.catalog import files_of
from transferkit.zoo.errors import ModelFileError, UsageError
from transferkit.zoo.names import parts

DEEP = "efficientnet_lite0@blocks.4"
TINY = "timm:test_resnet@layer3"


@pytest.fixture(scope="module")
def deep():
    return create(DEEP, num_classes=3)


@pytest.mark.parametrize(
    ("name", "stages"),
    [("test_resnet", ["layer3"]), ("test_efficientnet", ["blocks.3", "blocks.2"]), ("test_convnext", ["stages.1"])],
)
def test_the_features_are_the_networks_own_and_the_mean_of_what_a_stage_gives(name, stages):
    whole = create("@".join([f"timm:{name}", *stages]), weights="none", num_classes=3, image_size=64)
    network, x, seen = whole.model.body, torch.randn(2, 3, 64, 64), {}
    stages = sorted(stages)  # whatever order they are named in, shallow to deep
    for stage in stages:
        network.get_submodule(stage).register_forward_hook(lambda _, x, y, stage=stage: seen.update({stage: y}))
    with torch.no_grad():
        own = network.forward_head(network.forward_features(x), pre_logits=True)
        expected = torch.cat([own, *(seen[stage].mean((2, 3)) for stage in stages)], 1)
        torch.testing.assert_close(whole.features(x), expected)
    assert whole.widths == (own.shape[1], *(seen[stage].shape[1] for stage in stages))


@pytest.mark.parametrize("name", ["timm:test_vit@blocks.3", "timm:swin_tiny_patch4_window7_224@layers.1"])
def test_a_transformer_gives_the_mean_over_its_patches(name):
    whole = create(name, weights="none", num_classes=2)
    x = torch.randn(1, 3, *whole.card.preprocessing.size_px)
    network, stage = whole.model.body, name.partition("@")[2]
    with torch.no_grad():
        (oracle,) = network.forward_intermediates(x, indices=[whole.model._places[0]], intermediates_only=True)
        torch.testing.assert_close(whole.features(x)[:, -oracle.shape[1] :], oracle.mean((2, 3)))
        torch.testing.assert_close(network.forward_head(network.forward_features(x)), network(x))
    assert stage in {about["module"] for about in network.feature_info}


def test_a_linear_head_over_all_features_is_a_head_for_each_part(deep):
    x, weight, bias = torch.randn(2, 3, 224, 224), torch.randn(3, deep.num_features), torch.randn(3)
    deep.set_linear(weight, bias)
    with torch.no_grad():
        torch.testing.assert_close(deep(x), functional.linear(deep.features(x), weight, bias), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(deep.classifier(deep.features(x)), deep(x))


def test_it_is_cut_and_frozen_like_any_other(deep):
    x, stages = torch.randn(2, 3, 224, 224), deep.stages
    assert stages == create("efficientnet_lite0").stages
    for stage in ("blocks.2", "blocks.5", stages[-2]):  # before the stage it takes features of, and after
        below, above = deep.split(stage)
        assert not isinstance(below, torch.nn.Identity)
        with torch.no_grad():
            torch.testing.assert_close(above(below(x)), deep(x))
    deep.freeze(stages[:-1])
    assert [name for name, each in deep.model.named_parameters() if each.requires_grad] == [
        "body.classifier.weight",
        "body.classifier.bias",
        "heads.0.weight",
        "heads.0.bias",
    ]
    deep.freeze(())


def test_before_a_head_is_fitted_its_answers_are_a_share_of_the_networks(deep):
    x, alone, whole = torch.randn(1, 3, 224, 224), create("efficientnet_lite0"), create(DEEP)
    with torch.no_grad():
        torch.testing.assert_close(2 * whole(x), alone(x))


def test_its_card_is_that_of_the_network_and_says_which_features():
    card, alone = describe(DEEP), describe("efficientnet_lite0")
    assert (card.name, card.license, card.preprocessing) == (DEEP, alone.license, alone.preprocessing)
    assert card.description.endswith("Its head has the features of blocks.4 too.")
    made, own = (create(name, num_classes=10).card for name in (DEEP, "efficientnet_lite0"))
    assert made.parameters - own.parameters == 10 * (112 + 1)
    assert files_of(DEEP) == files_of("efficientnet_lite0")


def test_a_network_that_cannot_give_them_after_all_is_refused_when_it_is_opened(monkeypatch):
    def fail(self, x, **options):
        raise RuntimeError("no such thing here")

    monkeypatch.setattr(timm.models.ResNet, "forward_intermediates", fail)
    with pytest.raises(UsageError, match="test_resnet@layer3 cannot be computed: no such thing here"):
        create(TINY, weights="none")


def test_what_is_wrong_is_said_with_what_there_is():
    with pytest.raises(
        UsageError, match=r"'blocks.9' of efficientnet_lite0 is no stage .* blocks.2, blocks.4, blocks.6"
    ):
        create("efficientnet_lite0@blocks.9")
    with pytest.raises(UsageError, match=r"'blocks.4' of efficientnet_lite0 is named twice"):
        create("efficientnet_lite0@blocks.4@blocks.4")
    with pytest.raises(UsageError, match="cifar_resnet gives no features of earlier stages; leave out @layer1"):
        create("cifar_resnet@layer1")
    with pytest.raises(UsageError, match="did you mean cifar_resnet"):
        create("cifar_resnett@layer1")


def test_the_usual_stages_are_the_last_and_the_one_before_it_unless_the_last_is_what_the_head_has():
    assert depths.deeper_name("efficientnet_lite0") == "efficientnet_lite0@blocks.4@blocks.6"
    assert depths.deeper_name("timm:resnet18") == "timm:resnet18@layer3"
    assert depths.deeper_name("timm:test_vit") == depths.deeper_name("cifar_resnet") == ""
    assert depths.deeper_name("hf-hub:timm/resnet18") == ""  # there @ is a revision
    assert depths.deeper_name(DEEP) == depths.deeper_name("efficientnet_lite0+cifar_mlp") == ""


def test_a_folder_with_the_sign_in_its_name_is_a_folder(tmp_path):
    about = {"classes": ("a", "b"), "record": {}}
    made = create("cifar_resnet", num_classes=2)
    artifact.save(tmp_path / "a@b", artifact.Artifact(backbone=made, preprocessing=made.card.preprocessing, **about))
    assert create(tmp_path / "a@b").num_classes == 2


PLAIN = {"augment": "none", "precision": "fp32", "l2": 0.01}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("depths") / "data", classes=(0, 1, 4), per_class=8)


@pytest.fixture(scope="module")
def run(data):
    """Digits, and a probe with features of two depths on them."""
    return tk.finetune(data, backbone=DEEP, strategy="probe", out=data.parent / "run", image_size=96, **PLAIN)


def test_the_artefact_answers_as_the_run_did_and_says_what_it_is(run, data):
    assert run.metrics["backbone"] == DEEP
    photos = sorted(data.rglob("*.png"))[::5]
    assert [each.label for each in load(run.folder).predict(photos)] == [path.parent.name for path in photos]
    text = (run.folder / "model" / "README.md").read_text()
    assert "those of `blocks.4`" in text
    assert "timm.create_model" not in text
    with pytest.raises(UsageError, match="is no timm network; the other formats take it"):
        load(run.folder).export("timm", run.folder / "timm")


def test_training_goes_on_from_its_folder_through_all_of_it_and_beside_another(run, data, tmp_path):
    tiny = {"weights": "none", "image_size": 32, "device": "cpu"} | PLAIN
    first = tk.finetune(data, backbone=TINY, out=tmp_path / "first", strategy="probe", **tiny)
    options = {"strategy": "finetune", "epochs": 1, "batch_size": 12, "device": "cpu"} | PLAIN
    again = tk.finetune(data, backbone=str(first.folder), out=tmp_path / "again", **options)
    before, after = (load(each.folder).artifact.backbone.model.state_dict() for each in (first, again))
    assert not before["body.conv1.0.weight"].equal(after["body.conv1.0.weight"])
    assert not before["heads.0.weight"].equal(after["heads.0.weight"])
    both = tk.finetune(data, backbone=f"{TINY}+timm:test_efficientnet", out=tmp_path / "both", strategy="probe", **tiny)
    member = load(both.folder / "model" / "members" / "0")
    assert member.artifact.backbone.card.name == "test_resnet@layer3"
    assert "these folders are models of their own" in (both.folder / "model" / "README.md").read_text()
    assert parts(f"{TINY}+timm:test_efficientnet") == [TINY, "timm:test_efficientnet"]


def test_a_spec_of_strangers_is_read_within_bounds(run, tmp_path):
    config = json.loads((run.folder / "model" / "config.json").read_text())
    stages = [{"stages": wrong} for wrong in ([], ["blocks.9"], ["blocks.4"] * 9, "blocks.4", 3)]
    for number, wrong in enumerate([*stages, {"of": "depths"}, {"of": ""}, {"of": 3}]):
        target = tmp_path / str(number)
        target.mkdir()
        spec = config["transferkit"]["spec"] | wrong
        (target / "model.safetensors").write_bytes((run.folder / "model" / "model.safetensors").read_bytes())
        own = config["transferkit"] | {"spec": spec}
        (target / "config.json").write_text(json.dumps(config | {"transferkit": own}))
        hashes.write(target, ["model.safetensors", "config.json"])
        with pytest.raises(ModelFileError, match=r"refused|cannot build|cannot be built|lacks"):
            artifact.load(target)


@pytest.mark.slow
def test_it_becomes_one_graph(run, data, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = load(run.folder).export("onnx", tmp_path / "deep.onnx", images=data)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.run(None, {"photos": np.zeros((1, 90, 120, 3), np.uint8)})[0].shape == (1, 3)
