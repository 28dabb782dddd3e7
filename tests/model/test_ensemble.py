"""Which networks of an ensemble share a forward pass."""

import copy

import pytest
import torch

from transferkit.model import build
from transferkit.model.ensemble import is_same_body, plan_passes


def network(name, *, size=32):
    return build.create(name, num_classes=3, weights="none", image_size=size)


@pytest.mark.parametrize("other", ["timm:test_convnext", "timm:test_vit", "cifar_resnet"])
def test_networks_built_otherwise_get_passes_of_their_own_though_they_see_the_same_pixels(other):
    networks = [network("timm:test_resnet"), network(other)]
    preprocessings = [networks[0].card.preprocessing] * 2
    passes = plan_passes(networks, preprocessings=preprocessings, orders=[(0, 1, 2)] * 2, averages_mirror=[False] * 2)
    assert [each.members for each in passes] == [(0,), (1,)]


def test_every_network_joins_the_first_pass_that_it_shares():
    first, other = network("timm:test_resnet"), network("timm:test_resnet")
    networks = [first, other, copy.deepcopy(other), copy.deepcopy(first), copy.deepcopy(first)]
    passes = plan_passes(
        networks, preprocessings=[first.card.preprocessing] * 5, orders=[(0, 1, 2)] * 5, averages_mirror=[False] * 5
    )
    assert [each.members for each in passes] == [(0, 3, 4), (1, 2)]


def test_bodies_are_the_same_up_to_the_head_and_to_the_last_bit():
    one = network("timm:test_resnet")
    other = copy.deepcopy(one)
    with torch.no_grad():
        other.model.fc.weight.add_(1)
    assert is_same_body(one, other)
    with torch.no_grad():
        next(other.model.parameters()).view(-1)[0] += 1e-6
    assert not is_same_body(one, other)
