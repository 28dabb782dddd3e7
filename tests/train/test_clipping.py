"""Clipping has the bits of torch's, whatever has a gradient, in a few calls a weight."""

import copy

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from transferkit.train.clipping import Clipper


def network(layers=6) -> nn.Module:
    body = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), *(nn.Conv2d(8, 8, 3, padding=1) for _ in range(layers))]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).to(
        memory_format=torch.channels_last
    )


def with_gradients(model: nn.Module, *, scale: float) -> nn.Module:
    model(torch.randn(4, 3, 12, 12)).square().sum().mul(scale).backward()
    return model


@pytest.mark.parametrize(("max_norm", "scale"), [(1e-3, 100), (1.0, 100), (1e6, 100), (1e-5, 1e-5)])
def test_the_gradients_are_those_that_torch_clips(max_norm, scale):
    model = network()
    model[0].requires_grad_(False)
    clipper = Clipper(model.parameters(), max_norm=max_norm)
    for lacking in ([], [model[2].bias], [model[3].weight, model[3].bias], [*model.parameters()]):
        model.zero_grad()
        with_gradients(model, scale=scale)
        for parameter in lacking:
            parameter.grad = None
        expected = copy.deepcopy(model)
        for mine, its in zip(model.parameters(), expected.parameters()):
            its.grad = None if mine.grad is None else mine.grad.clone()
        nn.utils.clip_grad_norm_(expected.parameters(), max_norm)
        clipper.clip()
        for mine, its in zip(model.parameters(), expected.parameters()):
            assert (mine.grad is None) == (its.grad is None)
            assert mine.grad is None or torch.equal(mine.grad, its.grad)


def test_without_a_norm_nothing_is_clipped():
    model = with_gradients(network(), scale=100)
    before = [parameter.grad.clone() for parameter in model.parameters()]
    Clipper(model.parameters(), max_norm=None).clip()
    assert all(torch.equal(parameter.grad, held) for parameter, held in zip(model.parameters(), before))


def test_beside_what_goes_over_all_at_once_the_calls_are_the_same_for_any_number_of_weights():
    counts = []
    for layers in (2, 12):
        model = with_gradients(network(layers), scale=1)
        clipper = Clipper(model.parameters(), max_norm=1.0)
        clipper.clip()
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            clipper.clip()
        counts.append(sum(event.name.startswith("aten::") and event.cpu_parent is None for event in seen.events()))
    assert counts[0] == counts[1] <= 10
