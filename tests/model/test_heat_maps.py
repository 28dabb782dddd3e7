"""Heat maps: where the class is, and for a linear layer on an average exactly what that layer says of each place."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import transferkit as tk
from transferkit.model.heat_maps import heat_maps

DIGITS = load_digits()


def photos(digit: int, count: int) -> torch.Tensor:
    """Digits as normalised photos of 32 pixels; shape (count, 3, 32, 32)."""
    found = [
        np.asarray(Image.fromarray((pixels * 15.9).astype(np.uint8)).resize((32, 32), Image.Resampling.BICUBIC))
        for pixels in DIGITS.images[DIGITS.target == digit][:count]
    ]
    return (torch.from_numpy(np.stack(found)).float()[:, None].repeat(1, 3, 1, 1) / 255 - 0.5) / 0.25


def random(name: str, **options):
    return tk.zoo.create(name, weights="none", num_classes=3, **options)


@pytest.fixture(scope="module")
def reader():
    """`cifar_resnet` with a head, by scikit-learn, that tells 0 from 4."""
    backbone = tk.zoo.create("cifar_resnet", num_classes=2)
    with torch.no_grad():
        features = torch.cat([backbone.features(photos(digit, 40)) for digit in (0, 4)]).numpy()
    fit = LogisticRegression(max_iter=2000).fit(features, np.repeat([0, 1], 40))
    weight, bias = torch.from_numpy(fit.coef_).float(), torch.from_numpy(fit.intercept_).float()
    backbone.set_linear(torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2)
    return backbone


def test_the_map_of_a_class_lies_on_its_half_of_a_picture_of_two(reader):
    zeros, fours = photos(0, 60)[40:], photos(4, 60)[40:]
    pasted = torch.cat([zeros, fours], 3)  # a 0 on the left, a 4 on the right
    for label, half in ((0, slice(0, 3)), (1, slice(-3, None))):
        maps = heat_maps(reader, pasted, [label] * len(pasted))
        on_its_side = maps[:, :, half].sum((1, 2)) / maps.sum((1, 2))
        assert on_its_side.min() > 0.5
        assert on_its_side.mean() > 0.9


def test_under_a_linear_layer_on_an_average_a_place_has_what_the_layer_says_of_it_alone():
    backbone = random("timm:test_resnet")
    x = torch.randn(4, 3, 64, 96)
    with torch.no_grad():
        features = backbone.model.forward_features(x)  # timm's (B, C, h, w)
        layer = backbone.model.fc
        local = (torch.einsum("bchw,kc->bkhw", features, layer.weight) + layer.bias[:, None, None])[
            range(4), [0, 1, 2, 0]
        ]
    expected = torch.where(local.amax((1, 2), True) > 0, local.clamp(min=0), local - local.amin((1, 2), True))
    expected = expected / expected.amax((1, 2), True)
    np.testing.assert_allclose(heat_maps(backbone, x, [0, 1, 2, 0]), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "size", "grid"),
    [
        ("timm:test_vit", 160, (10, 10)),  # a token for the class
        ("timm:test_convnext", 160, (5, 5)),  # a norm after the average
        ("timm:test_efficientnet", 160, (5, 5)),
        ("timm:test_efficientnet@blocks.3", 160, None),  # features of a stage beside its own
        ("torchvision:squeezenet1_1", 64, (3, 3)),  # the final layer is a convolution before the average
        ("torchvision:swin_t", 224, (7, 7)),  # features are last
        ("cifar_resnet", 64, (7, 7)),
        ("cifar_resnet+timm:test_resnet", 160, None),
    ],
)
def test_networks_of_every_kind_have_maps_with_the_places_of_their_last_features(name, size, grid):
    backbone = random(name) if name.startswith("cifar") else random(name, image_size=size)
    side = backbone.card.preprocessing.size_px if "+" in name else (size, size)
    x = torch.randn(2, 3, *side)
    maps = heat_maps(backbone, x, [0, 2])
    assert maps.shape[1:] == (grid or maps.shape[1:])
    assert min(maps.shape[1:]) > 1
    assert np.isfinite(maps).all()
    assert maps.min() >= 0
    np.testing.assert_allclose(maps.max((1, 2)), 1, atol=1e-5)
    np.testing.assert_allclose(heat_maps(backbone, x[1:], [2]), maps[1:], atol=1e-3)


def test_side_by_side_the_maps_are_added():
    one, other = random("timm:test_resnet"), random("timm:test_resnet")
    torch.nn.init.normal_(other.model.fc.weight)
    pair = tk.zoo.create("timm:test_resnet+timm:test_resnet", weights="none", num_classes=3)
    for body, alone in zip(pair.model.bodies, (one, other)):
        body.load_state_dict(alone.model.state_dict())
    x = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        local = sum(
            torch.einsum("bchw,kc->bkhw", each.model.forward_features(x), each.model.fc.weight)
            + each.model.fc.bias[:, None, None]
            for each in (one, other)
        )[:, 1]
    expected = torch.where(local.amax((1, 2), True) > 0, local.clamp(min=0), local - local.amin((1, 2), True))
    np.testing.assert_allclose(heat_maps(pair, x, [1, 1]), expected / expected.amax((1, 2), True), atol=1e-3)


def test_in_a_transformer_that_does_not_know_places_the_map_moves_with_what_is_in_the_image():
    backbone = random("timm:test_vit")
    torch.nn.init.zeros_(backbone.model.pos_embed)
    x = torch.randn(2, 3, 160, 160)
    maps = heat_maps(backbone, x, [0, 1])
    moved = heat_maps(backbone, x.roll((32, -48), (2, 3)), [0, 1])  # by two patches down, three to the left
    np.testing.assert_allclose(moved, np.roll(maps, (2, -3), (1, 2)), atol=1e-3)
    assert maps.std((1, 2)).min() > 0.05


def test_a_network_without_places_has_no_map():
    backbone = tk.zoo.create("cifar_mlp")
    assert heat_maps(backbone, torch.randn(2, 3, *backbone.card.preprocessing.size_px), [0, 1]) is None


def test_watching_leaves_the_network_as_it_was(reader):
    before = {name: tensor.clone() for name, tensor in reader.state_dict().items()}
    heat_maps(reader, photos(0, 2), [0, 1])
    assert all(torch.equal(tensor, before[name]) for name, tensor in reader.state_dict().items())
    assert not [module for module in reader.modules() if module._forward_hooks or module._forward_pre_hooks]
    assert all(parameter.grad is None for parameter in reader.parameters())
