"""The multilayer perceptron: its formula in NumPy, its state, what it refuses, and its way through a packed file."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from transferkit import zoo
from transferkit.model.freezer import freeze
from transferkit.zoo import packed
from transferkit.zoo.errors import UsageError
from transferkit.zoo.mlp import CifarMlp

SMALL = (20, 12, 6)


@pytest.fixture
def images():
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def small(**options) -> CifarMlp:
    """A network with narrow layers; the same numbers whatever the options."""
    network = CifarMlp(4, widths=SMALL, **options)
    generator = torch.Generator().manual_seed(1)
    network.load_state_dict({
        name: torch.randn(value.shape, generator=generator) / math.sqrt(value[0].numel())
        for name, value in network.state_dict().items()
    })  # fmt: skip
    return network


@torch.no_grad()
def test_the_logits_are_those_of_the_formula_on_zero_centred_pixels(images):
    network = small().eval()
    state = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    x = (images.double().numpy() - state["mean"]).reshape(5, -1)
    for layer in ("fc1", "fc2", "fc3"):
        x = np.maximum(x @ state[f"{layer}.weight"].T + state[f"{layer}.bias"], 0)
    expected = x @ state["fc.weight"].T + state["fc.bias"]
    np.testing.assert_allclose(network(images).numpy(), expected, atol=1e-5)


def test_the_weights_start_he_initialised_and_the_biases_at_zero():
    network = CifarMlp(10, widths=(200, 100, 50))
    for layer in (network.fc1, network.fc2, network.fc3, network.fc):
        std = math.sqrt(2 / layer.in_features)
        assert layer.weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * layer.weight.numel()))
        assert not layer.bias.any()


@torch.no_grad()
@pytest.mark.parametrize(
    "options", [{"dropout": (0.5, 0.5)}, {"dropconnect": 0.5}, {"dropout": (0.5, 0.0), "dropconnect": 0.5}]
)
def test_dropout_and_dropconnect_act_in_training_alone_and_change_no_state(images, options):
    plain, regularised = small().eval(), small(**options)
    assert list(regularised.state_dict()) == list(plain.state_dict())
    assert not torch.equal(regularised(images), regularised(images))
    assert torch.equal(regularised.eval()(images), plain(images))


@torch.no_grad()
def test_gaussian_inference_comes_nearer_to_the_mean_over_masks_and_a_saved_network_is_plain(images):
    plain, gaussian = small().eval(), small(dropconnect=0.5, inference="gaussian").eval()
    hidden = plain.fc2(plain.fc1((images - plain.mean).flatten(1)).relu()).relu()  # (B, 12), what fc3 receives
    generator = torch.Generator().manual_seed(2)
    masks = torch.rand(40_000, *plain.fc3.weight.shape, generator=generator) < 0.5
    sums = torch.einsum("bd,mkd->mbk", hidden, 2 * masks * plain.fc3.weight) + plain.fc3.bias
    expected = plain.fc(sums.relu().mean(0))
    errors = [(network(images) - expected).norm().item() for network in (gaussian, plain)]
    assert errors[0] < errors[1] / 3

    opened = small().eval()
    opened.load_state_dict(gaussian.state_dict())
    assert torch.equal(opened(images), plain(images))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dropout": (0, 0.5), "dropconnect": 0.5}, r"instead of dropout; give dropout \(0, 0\), not \(0, 0.5\)"),
        ({"inference": "gaussian"}, "needs a dropconnect above 0"),
        ({"inference": "median", "dropconnect": 0.5}, "inference 'median' is unknown"),
    ],
)
def test_options_of_which_one_would_be_ignored_are_refused(options, said):
    with pytest.raises(UsageError, match=said):
        small(**options)


def test_images_of_another_size_are_refused_when_asked_for_and_when_given(images):
    with pytest.raises(UsageError, match="cifar_mlp takes images of 32 px, not 64"):
        zoo.create("cifar_mlp", weights="none", image_size=64)
    with pytest.raises(UsageError, match=r"3 x 32 x 32, not \(3, 64, 64\)"):
        small()(torch.zeros(1, 3, 64, 64))
    with pytest.raises(UsageError, match=r"not \(1, 32, 32\)"):
        small()(images[:, :1])


def test_before_there_are_training_images_inputs_are_centred_at_mid_grey():
    grey = torch.full((1, 3, 32, 32), 0.5)
    assert torch.equal(CifarMlp(4, widths=SMALL)(grey), torch.zeros(1, 4))  # zeros go in, and biases start at zero


@torch.no_grad()
def test_a_packed_file_opens_as_the_network_it_was_made_from_up_to_rounding(tmp_path, images):
    network = CifarMlp(3)
    network.mean.copy_(images.mean(0))
    save_file(packed.pack(network.state_dict()), tmp_path / "w.safetensors")
    backbone = zoo.create("cifar_mlp", weights=tmp_path / "w.safetensors", image_size=32)
    assert backbone.stages == ("fc1", "fc2", "fc3", "fc")
    assert backbone.features(images).shape == (5, 100)
    expected = network.eval()(images)
    assert (backbone(images) - expected).norm() < 0.02 * expected.norm()

    other = zoo.create("cifar_mlp", weights=tmp_path / "w.safetensors", num_classes=2)
    assert freeze(other, "backbone").trainable == 100 * 2 + 2
    assert torch.equal(other.features(images), backbone.features(images))
