import copy

import pytest
import timm
import torch
from torch import nn

from transferkit.zoo.folding import fold

IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
FAMILIES = ["resnet18", "mobilenetv3_small_050", "tf_efficientnet_b0", "test_byobnet", "densenet121"]


def network(name):
    """A timm network whose BatchNorm layers have statistics and weights that are worth folding."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 2)
                module.bias.normal_()
    return model.double()


def relative_error(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_a_folded_network_computes_the_same(name):
    model = network(name)
    expected, names = model(IMAGES), list(model.state_dict())
    assert fold(model, IMAGES[:1]) > 0
    assert relative_error(model(IMAGES), expected) < 1e-9
    assert list(model.state_dict()) == names


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [2, 3, 5])
@pytest.mark.parametrize("groups", [1, 6])
@torch.no_grad()
def test_padding_like_tensorflow_of_images_of_any_size_is_folded(stride, kernel, groups):
    torch.manual_seed(0)
    convolution = timm.layers.Conv2dSame(6, 6, kernel, stride, groups=groups)
    model = nn.Sequential(convolution, nn.BatchNorm2d(6)).eval().double()
    images = [torch.randn(2, 6, height, width, dtype=torch.float64) for height in (8, 9, 10) for width in (8, 11)]
    expected = [model(x) for x in images]
    assert fold(model, images[0]) == 1
    for x, y in zip(images, expected):
        assert torch.allclose(model(x), y)


def test_every_batchnorm_of_a_resnet_is_folded_and_runs_no_more(monkeypatch):
    model = network("resnet18")
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert fold(model, IMAGES[:1]) == len(norms)
    monkeypatch.setattr(nn.functional, "batch_norm", None)
    model(IMAGES)


def test_a_network_without_batchnorm_is_left_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm(62)).eval().double()
    assert fold(model, IMAGES) == 0
    assert "forward" not in vars(model[0])


@torch.no_grad()
def test_an_output_that_is_also_used_elsewhere_is_not_folded():
    class Fork(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.norm.running_mean.fill_(1)

        def forward(self, x):
            y = self.conv(x)
            return torch.cat([self.norm(y), y])

    model = Fork().eval().double()
    expected = model(IMAGES)
    assert fold(model, IMAGES) == 0
    assert torch.equal(model(IMAGES), expected)


@torch.no_grad()
def test_a_convolution_that_runs_twice_is_not_folded():
    conv, norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
    assert fold(nn.Sequential(conv, conv, norm).double(), IMAGES) == 0


def test_gradients_are_those_of_the_network_as_it_was_written():
    model = network("test_byobnet")
    folded = copy.deepcopy(model)
    fold(folded, IMAGES[:1])
    for each in (model, folded):
        each(IMAGES).square().sum().backward()
    for (name, expected), (_, found) in zip(model.named_parameters(), folded.named_parameters()):
        assert relative_error(found.grad, expected.grad) < 1e-9, name


def test_batchnorm_in_training_mode_is_as_it_was_and_learns_its_statistics():
    model = network("resnet18")
    folded = copy.deepcopy(model)
    fold(folded, IMAGES[:1])
    for each in (model, folded):
        each.train()
    assert torch.equal(folded(IMAGES), model(IMAGES))
    for (name, expected), (_, found) in zip(model.named_buffers(), folded.named_buffers()):
        assert torch.equal(found, expected), name


@torch.no_grad()
def test_folding_follows_weights_that_change_and_copies_are_their_own():
    model = network("resnet18")
    fold(model, IMAGES[:1])
    before, twin = model(IMAGES), copy.deepcopy(model)
    other = network("resnet18")
    other.bn1.weight.mul_(2)
    twin.load_state_dict(other.state_dict())
    assert relative_error(twin(IMAGES), other(IMAGES)) < 1e-9
    assert torch.equal(model(IMAGES), before)


def test_modes_are_those_from_before():
    model = network("resnet18").train()
    model.layer1.eval()
    fold(model, IMAGES[:1])
    assert model.layer2.training
    assert not model.layer1.training


def test_on_a_gpu_batchnorm_is_folded_where_nothing_is_trained_alone():
    """On a device without numbers, which is no CPU: only the calls are seen."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    assert fold(model, torch.zeros(1, 3, 8, 8)) == 1
    for device, is_folded in (("cpu", (True, True)), ("meta", (False, True))):
        x, model = torch.empty(2, 3, 8, 8, device=device), model.to(device)
        for has_gradients, expected in zip((True, False), is_folded):
            with torch.set_grad_enabled(has_gradients), torch.profiler.profile() as seen:
                model(x)
            assert ("aten::batch_norm" not in {event.name for event in seen.events()}) == expected
