import math

import numpy as np
import pytest
import torch
from torch import nn

import transferkit as tk
from transferkit.ship import artifact
from transferkit.zoo import layers
from transferkit.zoo.errors import UsageError
from transferkit.zoo.layers import DropConnectLinear, Dropping, gaussian_average, new_head, rectified_mean

DRAWS = 20_000


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def over_masks(layer, x):
    """What `layer` gives in training for one example (D,) under each of `DRAWS` masks: (DRAWS, K)."""
    with torch.no_grad():
        return layer.train()(x.expand(DRAWS, -1)).double()


def standard_error(values):
    return values.std(0) / math.sqrt(len(values))


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_the_moments_are_those_of_the_outputs_over_many_masks(share):
    layer, x = DropConnectLinear(7, 5, dropconnect=share), torch.randn(7)
    found = over_masks(layer, x)
    mean, variance = (moment.detach() for moment in layer.moments(x))
    centred = found - found.mean(0)
    assert ((found.mean(0) - mean).abs() < 4 * standard_error(found)).all()
    assert ((centred.square().mean(0) - variance).abs() < 4 * standard_error(centred.square())).all()
    correlations = np.corrcoef(found.T.numpy()) - np.eye(5)
    assert np.abs(correlations).max() < 4 / math.sqrt(DRAWS)


def test_the_mean_over_masks_is_the_layer_in_evaluation():
    layer, x = DropConnectLinear(7, 5), torch.randn(7)
    found = over_masks(layer, x)
    assert ((found.mean(0) - layer.eval()(x).detach()).abs() < 4 * standard_error(found)).all()


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Softmax(-1)], ids=["relu", "softmax"])
@torch.no_grad()
def test_gaussian_averages_are_those_over_true_masks(activation):
    layer, x = DropConnectLinear(256, 5, dropconnect=0.3), torch.randn(256)
    true = activation(over_masks(layer, x))
    generator = torch.Generator().manual_seed(1)
    found = gaussian_average(layer, x, activation, samples=DRAWS, generator=generator)
    # two means of DRAWS numbers each; a sum of 256 masked terms is normal to far less than that
    error = (found - true.mean(0)).abs()
    assert (error < 3 * math.sqrt(2) * standard_error(true)).all()
    assert ((activation(layer.eval()(x)) - true.mean(0)).abs() > 2 * error).any()  # what the mean network would give


@pytest.mark.parametrize("mean", [-3.0, -0.5, 0.0, 2.0])
def test_a_gaussian_average_of_rectifiers_is_the_closed_form(mean):
    mean, deviation = torch.tensor(mean).double(), torch.tensor(1.5).double()
    u = torch.linspace(-30, 30, 600_001).double()
    density = torch.distributions.Normal(mean, deviation).log_prob(u).exp()
    expected = torch.trapezoid(u.relu() * density, u)
    assert rectified_mean(mean, deviation.square()).item() == pytest.approx(expected.item(), rel=1e-7)


@pytest.mark.parametrize("mean", [-2.0, 0.0, 2.0])
def test_a_mean_of_rectifiers_without_spread_is_the_rectifier(mean):
    assert rectified_mean(torch.tensor(mean), torch.tensor(0.0)).item() == max(mean, 0)


@torch.no_grad()
def test_gaussian_inference_before_a_rectifier_is_the_mean_of_rectified_outputs_over_true_masks():
    layer = DropConnectLinear(256, 5, dropconnect=0.3, inference="gaussian", activation="relu")
    x = torch.randn(256)
    true = over_masks(layer, x).relu()
    assert ((layer.eval()(x) - true.mean(0)).abs() < 4 * standard_error(true)).all()


@pytest.mark.parametrize("activation", ["softmax", "relu"])
@torch.no_grad()
def test_gaussian_inference_is_alike_in_every_batch(activation):
    layer = DropConnectLinear(64, 4, inference="gaussian", activation=activation).eval()
    x = 2 * torch.randn(3, 64)
    found = layer(x)
    assert torch.equal(found, layer(x))
    torch.testing.assert_close(layer(x[1:2]), found[1:2])


@torch.no_grad()
def test_gaussian_inference_before_softmax_gives_the_logarithm_of_the_mean_probabilities():
    layer = DropConnectLinear(64, 4, inference="gaussian").eval()
    x = 2 * torch.randn(3, 64)
    mean, variance = layer.moments(x)
    noise = torch.randn(DRAWS, 3, 4, generator=torch.Generator().manual_seed(1))
    expected = (mean + variance.sqrt() * noise).softmax(-1).mean(0)
    assert ((layer(x).softmax(-1) - expected).abs() < 4 * 0.5 / math.sqrt(layers.GAUSSIAN_SAMPLES)).all()


def masks_of(layer, x, y):
    """The masks (B, K, D) that made `y` of `x`, read from its derivatives: d y[b, k] / d x[b, d] = M W / (1 - p)."""
    rows = [torch.autograd.grad(y[:, k].sum(), x, retain_graph=True)[0] for k in range(layer.out_features)]
    return torch.stack(rows, dim=1) * (1 - layer.dropconnect) / layer.weight.detach()


@pytest.mark.parametrize("mask_elements", [layers.MASK_ELEMENTS, 70], ids=["in one part", "in parts"])
def test_outputs_and_gradients_are_those_of_an_explicit_einsum_under_the_same_masks(mask_elements, monkeypatch):
    monkeypatch.setattr(layers, "MASK_ELEMENTS", mask_elements)
    layer = DropConnectLinear(6, 5, dropconnect=0.4).double()
    x, upstream = torch.randn(8, 6).double().requires_grad_(), torch.randn(8, 5).double()
    y = layer(x)
    masks = masks_of(layer, x, y)
    torch.testing.assert_close(masks, masks.round().clamp(0, 1))
    assert masks.mean().item() == pytest.approx(0.6, abs=4 * math.sqrt(0.24 / masks.numel()))
    assert not any(torch.equal(masks[0].round(), other.round()) for other in masks[1:])

    weight, bias = (parameter.detach().clone().requires_grad_() for parameter in (layer.weight, layer.bias))
    given = x.detach().clone().requires_grad_()
    expected = torch.einsum("bkd,kd,bd->bk", masks.round(), weight, given) / 0.6 + bias
    torch.testing.assert_close(y, expected)
    y.backward(upstream)
    expected.backward(upstream)
    for found, wanted in ((x, given), (layer.weight, weight), (layer.bias, bias)):
        torch.testing.assert_close(found.grad, wanted.grad)


def test_masks_too_large_to_hold_are_not_kept_for_the_backward_pass(monkeypatch):
    layer, x = DropConnectLinear(64, 32), torch.randn(40, 64)
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.nbytes
        return tensor

    def bytes_kept(mask_elements):
        monkeypatch.setattr(layers, "MASK_ELEMENTS", mask_elements)
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            layer(x).sum().backward()
        return sum(kept.values())

    assert bytes_kept(40 * 64 * 32) > 40 * 64 * 32
    assert bytes_kept(4 * 64 * 32) <= x.nbytes + layer.weight.nbytes


@pytest.mark.parametrize("training", [True, False])
def test_without_dropconnect_it_is_a_linear_layer_bit_for_bit(training):
    layer, plain = DropConnectLinear(7, 5, dropconnect=0, inference="gaussian"), nn.Linear(7, 5)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(3, 7)
    assert torch.equal(layer.train(training)(x), plain(x))


def test_the_seed_decides_the_masks_and_inputs_of_any_rank_are_taken():
    layer, x = DropConnectLinear(7, 5), torch.randn(2, 3, 7)
    torch.manual_seed(1)
    first = layer(x)
    assert first.shape == (2, 3, 5)
    assert not torch.equal(first, layer(x))
    torch.manual_seed(1)
    assert torch.equal(first, layer(x))


@pytest.mark.parametrize("values", [{"dropconnect": 1}, {"inference": "median"}, {"activation": "tanh"}])
def test_a_value_that_is_not_allowed_is_refused_by_name(values):
    with pytest.raises(UsageError, match=str(next(iter(values.values())))):
        DropConnectLinear(2, 2, **values)


def test_a_new_head_has_dropconnect_where_it_is_linear_and_the_weights_it_would_have_without():
    heads = [
        new_head(nn.Linear(6, 9), 3, dropping=Dropping(dropconnect=share), generator=torch.Generator().manual_seed(0))
        for share in (0.0, 0.5)
    ]
    assert [getattr(head, "dropconnect", None) for head in heads] == [None, 0.5]
    states = [head.state_dict() for head in heads]
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    with pytest.raises(UsageError, match="convolution"):
        new_head(nn.Conv2d(6, 9, 1), 3, dropping=Dropping(dropconnect=0.5))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dropout": 0.2, "dropconnect": 0.5}, "choose one"),
        ({"dropout": 1.0}, "shares from 0 to below 1, not 1.0 and 0.0"),
        ({"inference": "gaussian"}, "needs a dropconnect above 0"),
    ],
)
def test_what_a_head_cannot_drop_is_refused(options, said):
    with pytest.raises(UsageError, match=said):
        Dropping(**options)


@torch.no_grad()
def test_a_head_with_gaussian_inference_predicts_the_mean_over_masks_and_is_saved_as_the_mean_network(tmp_path):
    model = tk.zoo.create("cifar_resnet")
    model.reset_head(4, dropping=Dropping(dropconnect=0.5, inference="gaussian"))
    features = model.eval().features(torch.randn(3, 3, 32, 32))
    head = model.model.fc
    true = torch.stack([head.train()(features).softmax(-1) for _ in range(4000)])  # (M, B, K)
    found = head.eval()(features).softmax(-1)
    assert ((found - true.mean(0)).abs() < 4 * 0.5 / math.sqrt(layers.GAUSSIAN_SAMPLES)).all()
    plain = nn.functional.linear(features, head.weight, head.bias)
    assert not torch.allclose(found, plain.softmax(-1), atol=1e-3)

    artifact.save(
        tmp_path / "m",
        artifact.Artifact(backbone=model, classes=tuple("abcd"), preprocessing=model.card.preprocessing, record={}),
    )
    opened = artifact.load(tmp_path / "m").backbone.eval()
    torch.testing.assert_close(opened.model.fc(features), plain)
