"""A network's names and numbers without its code, for those who only read them."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from transferkit.zoo.backbone import Anatomy, Backbone
from transferkit.zoo.card import ModelCard
from transferkit.zoo.unfilled import Unfilled

ATTRIBUTES = ("pretrained_cfg", "num_features", "num_classes")  # of timm's networks, which go into a model folder


class LazyNetwork(nn.Module):
    """The parameters and buffers of a network under their names, its final layers as what they are.

    The network itself is built, by `build`, when the lazy one is called for the first time; until then neither timm nor
    torchvision is imported. It gets the final layers that the lazy one has by then, and stays in evaluation mode.
    """

    def __init__(self, state: Mapping[str, Tensor], anatomy: Anatomy, *, build: Callable[[], nn.Module]):
        super().__init__()
        self._own = (*anatomy.heads, *anatomy.nonlinear)
        self._build = functools.cache(build)
        parameters = {name for group in anatomy.groups for name in group}
        for name, tensor in state.items():
            path, _, leaf = name.rpartition(".")
            if path in anatomy.heads:
                if leaf == "weight":
                    *parents, last = path.split(".")
                    self._place(parents).add_module(last, _final_layer(tensor, state.get(f"{path}.bias")))
                continue
            owner = self._place(path.split(".") if path else [])
            if name in parameters:
                owner.register_parameter(leaf, nn.Parameter(tensor))
            else:
                owner.register_buffer(leaf, tensor)

    def _place(self, path: list[str]) -> nn.Module:
        """The module at `path`, made with all above it where it is missing."""
        module: nn.Module = self
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        return module

    def forward(self, x: Tensor) -> Tensor:
        network = self._build()
        modules = dict(self.named_modules())
        for name in self._own:
            if name in modules:
                network.set_submodule(name, modules[name])
        return network(x)


def _final_layer(weight: Tensor, bias: Tensor | None) -> nn.Linear | nn.Conv2d:
    outputs, inputs, *positions = weight.shape
    with Unfilled():
        if positions:
            layer = nn.Conv2d(inputs, outputs, 1, bias=bias is not None)
        else:
            layer = nn.Linear(inputs, outputs, bias=bias is not None)
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return layer


def describe(backbone: Backbone) -> dict[str, Any]:
    """Plain data from which `assemble` makes a lazy network."""
    attributes = {name: getattr(backbone.model, name) for name in ATTRIBUTES if hasattr(backbone.model, name)}
    return {
        "names": list(backbone.model.state_dict()),
        "anatomy": dataclasses.asdict(backbone.anatomy),
        "attributes": attributes,
        "card": dataclasses.asdict(backbone.card),
        "spec": backbone.spec,
    }


def assemble(content: dict[str, Any], state: Mapping[str, Tensor], *, build: Callable[[], nn.Module]) -> Backbone:
    """The network that was described, in evaluation mode, lazy, from its state.

    Args: build, what gives the native network, in evaluation mode.
    """
    fields = content["anatomy"]
    lists = {name: tuple(fields[name]) for name in ("heads", "nonlinear", "bodies")}
    anatomy = Anatomy(groups=fields["groups"], **lists)
    model = LazyNetwork({name: state[name] for name in content["names"]}, anatomy, build=build)
    for name, value in content["attributes"].items():
        setattr(model, name, value)
    card = ModelCard.from_json(json.dumps(content["card"]))
    return Backbone(model, anatomy, card=card, spec=content["spec"]).eval()
