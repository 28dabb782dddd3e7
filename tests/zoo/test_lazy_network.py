"""A lazy network answers all questions about a network as the network does; the oracle is the network itself."""

import copy
import json

import pytest
import torch

import transferkit as tk
from transferkit import zoo
from transferkit.zoo.lazy_network import assemble, describe

NETWORKS = {
    "test_resnet": 64,
    "test_vit": None,
    "test_convnext": 64,
    "mobilenetv3_small_050": 64,  # a convolution between pooling and the final layer
    "deit_tiny_distilled_patch16_224": None,  # two heads
    "torchvision:squeezenet1_1": 64,  # its final layer is a convolution, with a rectifier behind it
    "torchvision:shufflenet_v2_x0_5": 64,
}


def never():
    raise AssertionError("the network was built")


def lazy(backbone, build):
    """The lazy backbone, by way of JSON, with the tensors in the order of a safetensors file."""
    content = json.loads(json.dumps(describe(backbone)))
    state = {name: tensor.clone() for name, tensor in sorted(backbone.model.state_dict().items())}
    return assemble(content, state, build=build)


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    return zoo.create(request.param, weights="none", image_size=NETWORKS[request.param])


def fitted(backbone):
    """What a run does to a network: a new head, all else frozen, the head solved for; then its state in order."""
    tk.reset_head(backbone, 3, seed=1)
    report = tk.freeze(backbone, "backbone")
    generator = torch.Generator().manual_seed(2)
    backbone.set_linear(torch.randn(3, backbone.num_features, generator=generator), torch.ones(3))
    return report, list(backbone.model.state_dict().items())


def same_state(one, other):
    return [name for name, _ in one] == [name for name, _ in other] and all(
        torch.equal(tensor, twin) and tensor.dtype == twin.dtype for (_, tensor), (_, twin) in zip(one, other)
    )


def test_a_shell_has_the_state_stages_and_head_of_the_network(network):
    unbuilt = lazy(network, never)
    assert same_state(list(unbuilt.model.state_dict().items()), list(network.model.state_dict().items()))
    for attribute in ("anatomy", "heads", "stages", "num_features", "num_classes", "card"):
        assert getattr(unbuilt, attribute) == getattr(network, attribute)
    assert json.dumps(unbuilt.spec) == json.dumps(network.spec)
    names = [
        {stage: [name for name, _ in parameters] for stage, parameters in each.stage_parameters().items()}
        for each in (unbuilt, network)
    ]
    assert names[0] == names[1]
    assert not any(module.training for module in unbuilt.modules())


def test_a_shell_names_the_stages_of_networks_side_by_side_as_they_do():
    pair = zoo.create("cifar_resnet+cifar_mlp")
    unbuilt = lazy(pair, never)
    assert (unbuilt.stages, unbuilt.anatomy) == (pair.stages, pair.anatomy)


def test_a_shell_is_fitted_as_the_network_is(network):
    network, unbuilt = copy.deepcopy(network), lazy(network, never)
    (report, state), (expected, expected_state) = fitted(unbuilt), fitted(network)
    assert report == expected
    assert same_state(state, expected_state)
    assert json.dumps(unbuilt.spec) == json.dumps(network.spec)
    for name in ("num_classes", "num_features"):
        assert getattr(unbuilt.model, name, None) == getattr(network.model, name, None)


@torch.no_grad()
def test_a_shell_that_is_called_computes_what_the_network_does_and_copies_have_their_own_head(network):
    network = copy.deepcopy(network)
    unbuilt = lazy(network, lambda: copy.deepcopy(network).model)
    x = torch.randn(2, 3, *network.card.preprocessing.size_px)
    assert torch.equal(unbuilt(x), network(x))
    twin = copy.deepcopy(unbuilt)
    for each in (unbuilt, network):
        fitted(each)
        assert torch.equal(each.features(x), network.features(x))
    assert torch.equal(unbuilt(x), network(x))
    assert twin(x).shape[1] != 3
    assert torch.equal(unbuilt(x), network(x))


def test_a_shell_builds_the_network_once(network):
    built = []

    def build():
        built.append(copy.deepcopy(network))
        return built[-1].model

    unbuilt = lazy(network, build)
    for _ in range(2):
        unbuilt.features(torch.zeros(1, 3, *network.card.preprocessing.size_px))
    assert len(built) == 1
