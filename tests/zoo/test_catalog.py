"""Names and paths lead to networks; the oracle is timm and torchvision on the same files."""

import json
import subprocess
import sys

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from transferkit import zoo
from transferkit.ship import artifact
from transferkit.zoo import catalog, embedded, hashes, packages, packed, timm_results
from transferkit.zoo.card import ModelCard, Preprocessing
from transferkit.zoo.catalog import rebuild
from transferkit.zoo.errors import ModelFileError, UsageError
from transferkit.zoo.files import sha256
from transferkit.zoo.resnet import CifarResNet


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def write_timm_folder(folder, model, **config) -> None:
    """A model folder in timm's format, as `timm.models.save_for_hf` writes it."""
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"num_classes": model.num_classes} | config))


@torch.no_grad()
def test_the_shared_mobilenet_gives_the_logits_that_timm_gives(shared, images):
    folder = shared / "weights" / "mobilenetv2_100.imagenet"
    backbone = zoo.create(folder)
    oracle = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert torch.equal(backbone(images), oracle(images))
    assert backbone.spec["model_args"] == {"pad_type": "same"}
    assert backbone.card.preprocessing.interpolation == "bilinear"
    assert backbone.card.license == "apache-2.0"
    assert not backbone.training


@torch.no_grad()
def test_the_shared_squeezenet_keeps_its_native_forward_until_its_head_is_reset(shared, images):
    file = shared / "weights" / "squeezenet1_1.imagenet" / "model.safetensors"
    backbone = zoo.create("torchvision:squeezenet1_1", weights=file)
    oracle = torchvision.models.squeezenet1_1()
    oracle.load_state_dict(load_file(file))
    assert torch.equal(backbone(images), oracle.eval()(images))
    assert backbone.card.preprocessing.interpolation == "bilinear"
    names = list(backbone.model.state_dict())

    backbone.reset_head(3)
    nn.init.constant_(backbone.classifier.layers[0].bias, -100)
    assert (backbone(images) < 0).all()  # the ReLU that torchvision has behind its head is gone
    torch.testing.assert_close(backbone.classifier(backbone.features(images)), backbone(images))
    assert list(backbone.model.state_dict()) == names
    twin = rebuild(backbone.spec, num_classes=3)
    twin.model.load_state_dict(backbone.model.state_dict())
    assert torch.equal(twin(images), backbone(images))


@torch.no_grad()
def test_a_folder_keeps_its_classes_unless_another_number_is_asked(tmp_path, images):
    model = timm.create_model("test_convnext", num_classes=4).eval()
    write_timm_folder(tmp_path / "m", model, architecture="test_convnext", label_names=["a", "b", "c", "d"])
    same = zoo.create(tmp_path / "m")
    assert torch.equal(same(images), model(images))
    assert same.card.classes == ("a", "b", "c", "d")
    other = zoo.create(tmp_path / "m", num_classes=6)
    assert other(images).shape == (2, 6)
    assert other.card.classes == ()
    assert torch.equal(other.features(images), same.features(images))


@torch.no_grad()
def test_a_weights_file_replaces_the_weights_of_a_named_network(tmp_path, images):
    model = timm.create_model("test_resnet", num_classes=5).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    for name in ("test_resnet", "timm:test_resnet", "test_resnet.r160_in1k"):
        assert torch.equal(zoo.create(name, weights=tmp_path / "w.safetensors")(images), model(images))


@torch.no_grad()
@pytest.mark.parametrize("name", ["mnasnet0_5", "shufflenet_v2_x0_5"])
def test_a_torchvision_network_takes_a_file_of_its_own_state(tmp_path, images, name):
    model = torchvision.models.get_model(name).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    backbone = zoo.create(f"torchvision:{name}", weights=tmp_path / "w.safetensors")
    assert torch.equal(backbone(images), model(images))
    assert len(backbone.card.classes) == 1000


@torch.no_grad()
def test_a_vision_transformer_takes_its_weights_at_another_size_as_timm_does(tmp_path):
    args = {"img_size": 64, "num_classes": 5}
    source = timm.create_model("vit_tiny_patch16_224", num_classes=5, depth=1).eval()
    config = {"architecture": "vit_tiny_patch16_224", "model_args": {"depth": 1}}
    cfg = {"input_size": [3, 224, 224], "fixed_input_size": True, "classifier": "head", "num_classes": 5}
    write_timm_folder(tmp_path / "m", source, pretrained_cfg=cfg, **config)
    backbone = zoo.create(tmp_path / "m", image_size=64)
    assert backbone.card.preprocessing.size_px == (64, 64)
    oracle = timm.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True, **args).eval()
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(backbone(images), oracle(images))
    assert rebuild(backbone.spec, num_classes=5)(images).shape == (2, 5)


@torch.no_grad()
def test_a_folder_of_our_own_opens_with_its_preprocessing_and_classes(tmp_path, images):
    trained = zoo.create("torchvision:squeezenet1_1", weights="none")
    trained.reset_head(2)
    preprocessing = {"size_px": [64, 64], "mean": [0.1] * 3, "std": [0.2] * 3, "crop_pct": 1.0}
    record = {"spec": trained.spec, "preprocessing": preprocessing, "classes": ["cat", "dog"]}
    write = tmp_path / "run" / "model"
    write.mkdir(parents=True)
    save_file(trained.model.state_dict(), write / "model.safetensors")
    (write / "config.json").write_text(json.dumps({"transferkit": record}))
    hashes.write(write, ["config.json", "model.safetensors"])
    for path in (write, tmp_path / "run"):
        backbone = zoo.create(path)
        assert torch.equal(backbone(images), trained(images))
        assert backbone.card.classes == ("cat", "dog")
        assert backbone.card.preprocessing == Preprocessing(
            size_px=(64, 64), mean=(0.1,) * 3, std=(0.2,) * 3, crop_pct=1.0
        )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet81", "timm has no network named 'resnet81'; did you mean .*resnet"),
        ("resnet18.a9_in1k", "did you mean .*resnet18"),
        ("torchvision:resnet81", "torchvision has no classifier named 'resnet81'; did you mean torchvision:resnet"),
        ("zzzzzzzzzz", "zoo list"),
        ("cifar_resent", "did you mean cifar_resnet"),
    ],
)
def test_an_unknown_name_is_answered_with_its_neighbours(name, words):
    with pytest.raises(UsageError, match=words):
        zoo.create(name)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"architecture": "no_such_net"}', "names no timm architecture, but 'no_such_net'"),
        ("[1]", "not an object"),
        ("{", "not valid JSON"),
        ('{"transferkit": {}}', "lacks what transferkit writes"),
        ('{"transferkit": {"spec": {"family": "x"}, "preprocessing": {}, "classes": []}}', "cannot build"),
        ('{"architecture": "test_convnext", "model_args": {"nonsense": 1}}', "nonsense"),
    ],
)
def test_a_folder_with_an_odd_config_is_refused_in_one_line(tmp_path, content, words):
    (tmp_path / "config.json").write_text(content)
    (tmp_path / "model.safetensors").write_bytes(b"")
    hashes.write(tmp_path, ["config.json", "model.safetensors"])
    with pytest.raises(ModelFileError, match=words) as refusal:
        zoo.create(tmp_path, weights="none")
    assert "\n" not in str(refusal.value)


def test_a_path_that_is_no_model_folder_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"has no config\.json"):
        zoo.create(tmp_path)


@pytest.fixture
def installation(tmp_path, monkeypatch):
    """An installation with random weights, kept in half precision, of the residual network; with none of the other."""
    model = CifarResNet(10).half()
    for folder in ("cards", "weights"):
        (tmp_path / folder).mkdir()
    for name in embedded.NAMES:
        card = ModelCard(
            name=name,
            architecture=name,
            preprocessing=Preprocessing(size_px=(32, 32), crop_pct=1.0),
            classes=tuple("abcdefghij"),
        )
        (tmp_path / "cards" / f"{name}.json").write_text(card.to_json())
    save_file(model.state_dict(), tmp_path / "weights" / "cifar_resnet.safetensors")
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    return tmp_path


@torch.no_grad()
def test_an_embedded_network_is_loaded_into_single_precision(installation):
    backbone = zoo.create("cifar_resnet")
    oracle = CifarResNet(10)
    oracle.load_state_dict(load_file(installation / "weights" / "cifar_resnet.safetensors"))
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(backbone(images), oracle.eval()(images))
    assert backbone.stages == ("stem", "stage1", "stage2", "stage3", "fc")
    assert backbone.card == zoo.describe("cifar_resnet")
    assert [card.name for card in zoo.cards()] == [*embedded.NAMES, *packages.NAMES]
    assert zoo.create("cifar_resnet", num_classes=3, image_size=48).card.preprocessing.size_px == (48, 48)


def test_an_installation_without_its_weights_says_so(installation):
    (installation / "weights" / "cifar_resnet.safetensors").unlink()
    with pytest.raises(ModelFileError, match="the weights of cifar_resnet are missing from the installation"):
        zoo.create("cifar_resnet")


@torch.no_grad()
def test_an_embedded_network_may_be_kept_in_8_bits(installation):
    state = CifarResNet(10).state_dict()
    save_file(packed.pack(state), installation / "weights" / "cifar_resnet.safetensors")
    images = torch.randn(2, 3, 32, 32)
    oracle = CifarResNet(10)
    oracle.load_state_dict(packed.unpack(packed.pack(state)))
    assert torch.equal(zoo.create("cifar_resnet")(images), oracle.eval()(images))


@pytest.mark.parametrize(("name", "limit_mb"), [("cifar_mlp", 45), ("cifar_resnet", 6)])
def test_the_weights_that_travel_are_those_of_the_card_and_small(name, limit_mb):
    card = zoo.describe(name)
    file = embedded.FOLDER / "weights" / f"{name}.safetensors"
    assert file.stat().st_size <= limit_mb * 1e6
    assert sha256(file) == card.sha256
    backbone = zoo.create(name)
    assert sum(p.numel() for p in backbone.parameters()) == card.parameters
    assert backbone.num_classes == len(card.classes)
    assert all(tensor.isfinite().all() for tensor in backbone.state_dict().values())


def test_loading_a_network_draws_no_random_numbers():
    before = torch.get_rng_state()
    zoo.create("cifar_resnet")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_cards_are_read_without_torch():
    code = "import sys; from transferkit.zoo import catalog, embedded; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_search_takes_a_shell_pattern():
    found = zoo.search("*convnext_atto*")
    assert "convnext_atto.d2_in1k" in found
    assert all("convnext_atto" in name for name in found)
    assert "torchvision:resnet18" in zoo.search("torchvision:*")


@torch.no_grad()
@pytest.mark.parametrize("make", [lambda: timm.create_model("test_resnet"), torchvision.models.squeezenet1_1])
def test_a_network_made_elsewhere_is_wrapped_and_shared(make, images):
    model = make().eval()
    backbone = zoo.wrap(model)
    assert backbone.model is model
    assert torch.equal(backbone(images), model(images))
    with pytest.raises(UsageError, match="has no stage 'nonsense'; its stages are"):
        backbone.freeze(["nonsense"])
    with pytest.raises(UsageError, match="no parameter, buffer or module named"):
        backbone.stage_of("nonsense.weight")


@pytest.mark.parametrize("argument", ["checkpoint_path", "pretrained_cfg_overlay", "scriptable"])
def test_a_model_folder_may_not_make_timm_open_another_file(tmp_path, argument):
    model = timm.create_model("test_resnet", num_classes=2)
    write_timm_folder(tmp_path / "m", model, architecture="test_resnet", model_args={argument: "evil.pth"})
    with pytest.raises(ModelFileError, match=f"{argument}.*which a model may not choose"):
        zoo.create(tmp_path / "m")


def test_names_are_kept_and_found_again_without_importing_timm(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path))
    first = zoo.search("resnet18*")
    assert "resnet18.a1_in1k" in first
    code = (
        "import sys; from transferkit.zoo import names; print(names.search('resnet18*')); print('timm' in sys.modules)"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert again.stdout.splitlines() == [str(first), "False"]
    (kept,) = tmp_path.glob("names/*.json")
    kept.write_text("{")
    assert zoo.search("resnet18*") == first


@pytest.mark.parametrize("name", ["resnet18", "torchvision:resnet18", "mobilenetv3_large_100.ra_in1k"])
def test_a_card_knows_the_number_of_parameters_without_weights(name):
    card = zoo.describe(name)
    source, _, rest = name.rpartition(":")
    oracle = torchvision.models.get_model(rest) if source else timm.create_model(rest)
    assert card.parameters == sum(parameter.numel() for parameter in oracle.parameters())


def test_a_mistyped_run_is_no_unknown_network(tmp_path):
    (tmp_path / "photos-8").mkdir()
    (tmp_path / "other").mkdir()
    for opened in (zoo.create, zoo.describe, artifact.load):
        with pytest.raises(UsageError, match=r"no such run, folder or network: .*-9; did you mean \S+photos-8\?$"):
            opened(str(tmp_path / "photos-9"))
        with pytest.raises(UsageError, match=r"there is no folder \S+nowhere$"):
            opened(str(tmp_path / "nowhere" / "photos-9"))
        with pytest.raises(UsageError, match=r"no such run, folder or network: \./zzz$"):
            opened("./zzz")


def test_a_mistyped_run_in_the_current_folder_is_none_either(tmp_path, monkeypatch):
    (tmp_path / "my-photos-8").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"^no such run, folder or network: my-photos-9; did you mean my-photos-8\?"):
        artifact.load("my-photos-9")
    with pytest.raises(UsageError, match=r"^no such run, folder or network: zzzzzzzzzz; `transferkit zoo list`"):
        zoo.create("zzzzzzzzzz")


def test_the_accuracies_of_timms_table_are_of_weights_that_timm_has():
    table = timm_results._table()
    assert len(table) == 1002
    assert set(table) <= set(timm.list_pretrained())
    assert all(50 < float(accuracy) < 91 for accuracy in table.values())
    assert catalog.describe("mobilenetv2_100").measured == {"ImageNet, top-1": "73.0 %, in timm's table of results"}
    assert not catalog.describe("vit_small_patch14_dinov2").measured
