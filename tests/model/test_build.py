"""The door to the zoo: which network "auto" is, and what stands in for one that cannot be had."""

import pytest
import torch
from safetensors.torch import save_file

from transferkit import zoo
from transferkit.model import build
from transferkit.zoo import packages
from transferkit.zoo.errors import ModelFileError

LITE = "efficientnet_lite"
SMALL = {"weights": None, "image_size": 48, "offline": True}


@pytest.mark.parametrize(
    ("there", "names"),
    [
        ((0,), (f"{LITE}0", "cifar_resnet")),
        ((2,), (f"{LITE}2", "cifar_resnet")),
        ((0, 1), (f"{LITE}0+{LITE}1", f"{LITE}1", f"{LITE}0", "cifar_resnet")),
        ((0, 1, 2), (f"{LITE}0+{LITE}2", f"{LITE}2", f"{LITE}0", "cifar_resnet")),
    ],
)
def test_auto_is_what_is_installed_the_best_beside_the_least_and_needs_no_hub_on_a_cpu(install, there, names):
    for number, name in enumerate(packages.NAMES):
        install(name, b"a file" if number in there else None)
    assert build.named("auto", "cpu") == names
    assert {part for name in names for part in name.split("+")} <= {card.name for card in zoo.cards()}
    assert build.named("resnet18", "cpu") == build.named("resnet18", "cuda") == ("resnet18",)


def test_auto_is_a_larger_network_of_the_hub_on_a_gpu_if_it_can_be_had():
    for device in ("cuda", "mps"):
        first, *others = build.named("auto", device)
        assert first.startswith("convnext")
        assert tuple(others) == build.named("auto", "cpu")


@pytest.mark.parametrize(("content", "said"), [(None, "is not installed: pip install"), (b"another", "as it was publ")])
def test_where_none_is_installed_as_it_was_published_the_embedded_network_is_taken(install, content, said):
    for name in packages.NAMES:
        install(name, content)
    model, reason = build.open_backbone(build.named("auto", "cpu"), **SMALL)
    assert (model.card.name, model.card.preprocessing.size_px) == ("cifar_resnet", (48, 48))
    assert said in reason
    assert "\n" not in reason


def test_one_that_is_not_as_it_was_published_leaves_the_other(install):
    install("efficientnet_lite2", b"another")
    model, reason = build.open_backbone(build.named("auto", "cpu"), **SMALL)
    assert model.card.name == "efficientnet_lite0"
    assert "as it was publ" in reason


def test_weights_that_are_given_are_those_of_the_network_that_auto_means_and_of_no_other(tmp_path):
    names = build.named("auto", "cpu")
    model, reason = build.open_backbone(names, **SMALL | {"weights": "none"})
    assert (model.card.name, reason) == (names[0], "")
    names = ("efficientnet_lite0+cifar_resnet", *names)  # a file is for one network
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError, match="does not fit"):
        build.open_backbone(names, **SMALL | {"weights": str(tmp_path / "other.safetensors")})
