"""The door to the zoo: which network "auto" is, and what stands in for one that cannot be had."""

import pytest

from transferkit.model import build
from transferkit.zoo.errors import NetworkError


@pytest.fixture
def nothing_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def test_auto_is_a_network_for_phones_on_a_cpu_and_a_larger_one_elsewhere_and_other_names_are_themselves():
    assert build.named("auto", "cpu").startswith("mobilenet")
    assert build.named("auto", "cuda").startswith("convnext")
    assert build.named("auto", "mps").startswith("convnext")
    assert build.named("resnet18", "cpu") == build.named("resnet18", "cuda") == "resnet18"


@pytest.mark.usefixtures("nothing_kept")
def test_where_auto_cannot_be_had_the_embedded_network_is_taken_and_the_reason_said():
    about = {"weights": None, "image_size": 48, "offline": True, "device": "cpu"}
    model, note = build.open_backbone("auto", **about)
    assert (model.card.name, model.card.preprocessing.size_px) == ("cifar_resnet", (48, 48))
    assert note.startswith("backbone cifar_resnet, which is embedded: ")
    with pytest.raises(NetworkError):
        build.open_backbone(build.named("auto", "cpu"), **about)


def test_auto_is_told_by_its_name_and_a_name_that_was_given_is_not():
    about = {"weights": "none", "image_size": 64, "offline": True, "device": "cpu"}
    model, note = build.open_backbone("auto", **about)
    assert (note, model.card.preprocessing.size_px) == (f"backbone {model.card.name}", (64, 64))
    assert model.card.name == build.named("auto", "cpu")
    model, note = build.open_backbone("timm:test_resnet", **about)
    assert (note, model.card.name) == ("", "test_resnet")
