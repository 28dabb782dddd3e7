"""What every network of the zoo must do, whatever its family; random weights, the oracle is torch or timm itself."""

import math
import re

import pytest
import timm
import torch
from torch import nn

from transferkit import zoo
from transferkit.zoo.catalog import rebuild

ARCHITECTURES = {  # name: image size, None where the network has one of its own
    "cifar_mlp": None,
    "cifar_resnet": None,
    "crossvit_tiny_240": None,
    "deit_tiny_distilled_patch16_224": 64,
    "densenet121": 32,
    "dla46_c": 32,
    "edgenext_xx_small": 64,
    "efficientformer_l1": None,
    "efficientformerv2_s0": None,
    "efficientvit_b0": 64,
    "fastvit_t8": 64,
    "ghostnet_050": 64,
    "hardcorenas_a": 64,
    "levit_128s": None,
    "lcnet_050": 64,
    "mixer_s32_224": 64,
    "mnasnet_small": 64,
    "mobilenetv3_small_050": 64,
    "mobilevit_xxs": 64,
    "mobilevitv2_050": 64,
    "poolformerv2_s12": 64,
    "pit_ti_224": None,
    "regnetx_002": 64,
    "repvit_m0_9": 64,
    "resnet10t": 64,
    "starnet_s050": 64,
    "test_byobnet": 64,
    "test_convnext": 64,
    "test_efficientnet": 64,
    "test_mambaout": 64,
    "test_nfnet": 64,
    "test_vit": 64,
    "xcit_nano_12_p16_224": 64,
    "torchvision:alexnet": 64,
    "torchvision:googlenet": 64,
    "torchvision:mobilenet_v3_small": 64,
    "torchvision:resnet18": 64,
    "torchvision:squeezenet1_1": 64,
}
# Most are a thousand names of the same few ways to write a network: one of each way is looked at each time.
OTHERS = (
    "crossvit_tiny_240", "densenet121", "dla46_c", "edgenext_xx_small", "efficientformer_l1", "efficientformerv2_s0",
    "efficientvit_b0", "fastvit_t8", "ghostnet_050", "hardcorenas_a", "lcnet_050", "mixer_s32_224", "mnasnet_small",
    "mobilevit_xxs", "mobilevitv2_050", "pit_ti_224", "poolformerv2_s12", "regnetx_002", "repvit_m0_9",
    "starnet_s050", "test_byobnet", "test_nfnet", "torchvision:alexnet", "torchvision:googlenet",
    "torchvision:mobilenet_v3_small", "torchvision:resnet18", "xcit_nano_12_p16_224",
)  # fmt: skip
# Families that must be cut, not passed whole.
MAIN = re.compile(r"cifar|resnet|convnext|efficientnet|mobilenetv3|vit$|deit")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow) if name in OTHERS else name for name in ARCHITECTURES],
)
def backbone(request):
    """Each architecture once, with random weights and seven classes."""
    torch.manual_seed(0)
    return zoo.create(request.param, weights="none", num_classes=7, image_size=ARCHITECTURES[request.param])


@pytest.fixture
def images(backbone):
    """Two random images of the network's size."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, *backbone.card.preprocessing.size_px, generator=generator)


def tensors_of(value) -> list[torch.Tensor]:
    return [value] if isinstance(value, torch.Tensor) else list(value)


def plain_network(backbone) -> nn.Module:
    """What timm itself makes of the same architecture."""
    return timm.create_model(
        backbone.spec["architecture"], num_classes=backbone.num_classes, **backbone.spec["model_args"]
    )


@torch.no_grad()
def test_a_network_maps_images_to_features_and_logits(backbone, images):
    assert backbone.features(images).shape == (2, backbone.num_features)
    assert backbone(images).shape == (2, 7) == (2, backbone.num_classes)


def test_the_stages_cover_every_parameter_exactly_once_and_end_with_the_final_layers(backbone):
    grouped = backbone.stage_parameters()
    covered = [name for stage in backbone.stages for name, _ in grouped[stage]]
    assert sorted(covered) == sorted(name for name, _ in backbone.model.named_parameters())
    assert all(grouped.values())
    assert len(backbone.stages) >= 3
    last = {name.rpartition(".")[0] for name, _ in grouped[backbone.stages[-1]]}
    assert last == set(backbone.heads)
    assert all(backbone.stage_of(name) == stage for stage in backbone.stages for name, _ in grouped[stage])


def test_the_state_has_the_native_names(backbone):
    if backbone.spec["family"] == "timm":
        assert list(backbone.model.state_dict()) == list(plain_network(backbone).state_dict())


@torch.no_grad()
def test_a_network_is_the_suffix_of_its_prefix_at_every_stage(backbone, images):
    whole = backbone(images)
    for stage in backbone.stages:
        prefix, suffix = backbone.split(stage)
        if MAIN.search(backbone.card.architecture):
            assert not isinstance(prefix, nn.Identity), f"{stage} is not cut"
        middle = prefix(images)
        before = [value.clone() for value in tensors_of(middle)]
        torch.testing.assert_close(suffix(middle), whole, rtol=1e-5, atol=1e-5 * whole.abs().max().item())
        assert all(map(torch.equal, before, tensors_of(middle))), f"the suffix after {stage} writes into its input"
        assert not backbone.training


def test_what_is_frozen_is_bit_equal_after_a_step_of_training_and_the_rest_moves(backbone, images):
    backbone.reset_head(7, generator=torch.Generator().manual_seed(0))  # timm begins some heads at zero
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    for depth in range(len(backbone.stages)):
        backbone.model.load_state_dict(before)  # a second step could find a loss of exactly zero
        backbone.freeze(backbone.stages[:depth])
        backbone.train()
        step(backbone, images)
        after = backbone.model.state_dict()
        moved = {backbone.stage_of(name) for name, tensor in before.items() if not torch.equal(tensor, after[name])}
        assert moved == set(backbone.stages[depth:])
    backbone.freeze(())
    backbone.eval()


def step(backbone, images) -> None:
    """One step of gradient descent on a cross-entropy."""
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.01)
    nn.functional.cross_entropy(backbone(images), torch.tensor([0, 1])).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def test_a_new_head_is_he_initialised_and_linear_in_the_features(backbone, images):
    backbone.reset_head(3, generator=torch.Generator().manual_seed(0))
    assert backbone(images).shape == (2, 3)
    for name in backbone.heads:
        layer = backbone.model.get_submodule(name)
        std = math.sqrt(2 / layer.weight.shape[1])
        assert layer.weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * layer.weight.numel()))
        assert not layer.bias.any()
    features = backbone.features(images)
    torch.testing.assert_close(backbone.classifier(features), backbone(images), rtol=1e-4, atol=1e-4)

    weight, bias = torch.randn(3, backbone.num_features), torch.randn(3)
    backbone.set_linear(weight, bias)
    expected = features @ weight.T + bias
    torch.testing.assert_close(backbone(images), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@torch.no_grad()
def test_a_network_rebuilt_from_its_spec_takes_its_state_and_gives_its_logits(backbone, images):
    twin = rebuild(backbone.spec, num_classes=backbone.num_classes)
    twin.model.load_state_dict(backbone.model.state_dict())
    size = backbone.card.preprocessing.size_px
    assert torch.equal(twin(images), backbone(images))
    if backbone.spec["family"] == "timm" and "img_size" in backbone.spec["model_args"]:
        assert twin.card.preprocessing.size_px == size
