"""An image size that a network cannot take is a wrong option, said with one that works."""

import json
import re

import pytest
import timm
from safetensors.torch import save_file

from transferkit import zoo
from transferkit.zoo.errors import ModelFileError, UsageError

REFUSED = [
    ("convnext_atto", 28),  # a kernel larger than what is left
    ("densenet121", 28),
    ("torchvision:inception_v3", 64),
    ("torchvision:alexnet", 32),
    ("maxvit_tiny_rw_224", 200),  # windows that do not divide it
    ("levit_128s", 100),  # biases for other positions
    ("vit_tiny_patch16_224", 8),  # less than a patch
]


@pytest.mark.parametrize(("name", "size_px"), REFUSED)
def test_a_size_that_a_network_cannot_take_is_refused_with_one_that_works(name, size_px):
    with pytest.raises(UsageError, match=rf"{size_px} px .*; \d+ px works") as refusal:
        zoo.create(name, weights="none", image_size=size_px)
    assert "\n" not in str(refusal.value)
    works = int(re.search(r"(\d+) px works", str(refusal.value))[1])
    assert zoo.create(name, weights="none", image_size=works).card.preprocessing.size_px == (works, works)


@pytest.mark.parametrize(("name", "size_px"), [("mobilenetv2_100", 16), ("resnet10t", 4096), ("cifar_resnet", 9)])
def test_sizes_that_work_are_not_refused(name, size_px):
    assert zoo.create(name, weights="none", image_size=size_px).card.preprocessing.size_px == (size_px, size_px)


def test_a_model_file_that_asks_for_such_a_size_is_refused_as_one(tmp_path):
    network = timm.create_model("test_convnext", num_classes=2)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "test_convnext", "num_classes": 2, "pretrained_cfg": {"input_size": [3, 4, 4]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFileError, match="images of 4 px, which its network cannot take"):
        zoo.create(tmp_path)
