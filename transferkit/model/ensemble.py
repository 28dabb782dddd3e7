"""The networks of an ensemble in as few forward passes as give the logits of all: what is equal is computed once."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transferkit.model.build import Backbone, Preprocessing
from transferkit.model.mirror import MirrorAveraged


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One forward pass: how its images are prepared, the network, and which members' logits it gives, side by side.

    Shapes: network (B, 3, H, W) -> (B, M * K) for M members of K classes.
    """

    preprocessing: Preprocessing
    network: Backbone | MirrorAveraged
    members: tuple[int, ...]

    @property
    def views(self) -> int:
        """How many views of an image go through the network."""
        return 2 if isinstance(self.network, MirrorAveraged) else 1


def answer_of(network: Backbone | MirrorAveraged, x: Tensor) -> tuple[Tensor, Tensor]:
    """The logits, and what the final layers received for the images as they are.

    Shapes: (B, 3, H, W) -> (B, K), (B, D).
    """
    if not isinstance(network, MirrorAveraged):
        return network.answer(network, x)
    logits, features = network.network.answer(network, x)
    return logits, features.unflatten(0, (2, -1))[0]  # len(x) would make B a constant of a graph


def plan_passes(
    networks: Sequence[Backbone],
    *,
    preprocessings: Sequence[Preprocessing],
    orders: Sequence[Sequence[int]],
    averages_mirror: Sequence[bool],
) -> list[Pass]:
    """The passes of an ensemble: networks that see the same pixels and differ only in the head share one.

    Args: orders[m] lists the outputs of network m in the order of the ensemble's classes; averages_mirror[m] is whether
    its logits are averaged over an image and its mirror image.
    """
    groups: list[list[int]] = []
    for number, network in enumerate(networks):
        for group in groups:
            same_pixels = preprocessings[group[0]] == preprocessings[number]
            same_pixels &= averages_mirror[group[0]] == averages_mirror[number]
            if same_pixels and is_same_body(networks[group[0]], network):
                group.append(number)
                break
        else:
            groups.append([number])
    stacked = [stack_heads([networks[m] for m in group], orders=[orders[m] for m in group]) for group in groups]
    return [
        Pass(
            preprocessing=preprocessings[group[0]],
            network=MirrorAveraged(network) if averages_mirror[group[0]] else network,
            members=tuple(group),
        )
        for group, network in zip(groups, stacked)
    ]


def is_same_body(one: Backbone, other: Backbone) -> bool:
    """Whether two networks are built alike and have equal tensors everywhere but in the final layers."""
    if one.spec != other.spec or one.heads != other.heads:
        return False
    mine, theirs = _body(one), _body(other)
    return mine.keys() == theirs.keys() and all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


def share_body(source: Backbone, target: Backbone) -> None:
    """Let `target` hold the tensors of `source` below the head in place of its own, which are equal: memory of one."""
    target.model.load_state_dict(_body(source), strict=False, assign=True)


def _body(model: Backbone) -> dict[str, Tensor]:
    """The tensors of a model without those of its final layers."""
    state = model.model.state_dict()
    return {name: tensor for name, tensor in state.items() if name.rpartition(".")[0] not in model.heads}


@torch.no_grad()
def stack_heads(networks: Sequence[Backbone], *, orders: Sequence[Sequence[int]]) -> Backbone:
    """A network that gives the logits of all `networks` side by side; they may differ only in the head.

    M heads of K outputs on one body are one head of M * K outputs. The tensors of the body are those of the first
    network, which stays as it is.

    Args: orders[m] lists the outputs of network m that are wanted, in order.
    Shapes: (B, 3, H, W) -> (B, M * K).
    """
    first = networks[0]
    shared = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in first.parameters()}
    shared |= {id(buffer): buffer.detach() for buffer in first.buffers()}
    stacked = copy.deepcopy(first, shared)  # new modules around the same memory
    for name in first.heads:
        layers = [network.model.get_submodule(name) for network in networks]
        layer = stacked.model.get_submodule(name)
        for kind, _ in list(layer.named_parameters()):
            rows = [getattr(each, kind)[list(order)] for each, order in zip(layers, orders)]
            setattr(layer, kind, nn.Parameter(torch.cat(rows), requires_grad=False))  # (M * K, ...)
    return stacked
