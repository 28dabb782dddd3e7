"""The door to the zoo: which network "auto" is, and what stands in for one that cannot be had."""

import pytest
import torch
from safetensors.torch import save_file

from transferkit import zoo
from transferkit.model import build
from transferkit.zoo import packages
from transferkit.zoo.errors import ModelFileError

SMALL = {"weights": None, "image_size": 48, "offline": True}


def test_auto_is_the_best_network_that_is_installed_and_needs_no_hub_on_a_cpu():
    names = build.named("auto", "cpu")
    assert names == (packages.best(), "cifar_resnet")
    assert {*names} <= {card.name for card in zoo.cards()}
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


def test_weights_that_are_given_are_those_of_the_network_that_auto_means_and_of_no_other(tmp_path):
    names = build.named("auto", "cpu")
    model, reason = build.open_backbone(names, **SMALL | {"weights": "none"})
    assert (model.card.name, reason) == (names[0], "")
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError, match="does not fit"):
        build.open_backbone(names, **SMALL | {"weights": str(tmp_path / "other.safetensors")})
