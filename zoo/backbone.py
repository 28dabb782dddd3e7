"""A pretrained network of any family under one interface: features, final layers, stages, freezing, cutting in two."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from transferkit.zoo import split
from transferkit.zoo.card import ModelCard
from transferkit.zoo.errors import UsageError
from transferkit.zoo.final_layers import Head, MeanAnswer, final_layer, pooled
from transferkit.zoo.layers import NOTHING_DROPPED, Dropping, new_head
from transferkit.zoo.stages import name_groups, place_modules, separate_heads


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """Where the parts of a network are, by dotted names.

    `heads`: the final linear layers, whose outputs are averaged. `groups`: the parameters, shallow to deep.
    `nonlinear`: modules between the final layers and the logits that a new head removes, because features would not map
    to logits linearly. `bodies`: how names begin that a network has inside another, one for each of several
    side by side; stages are named without it.
    """

    heads: tuple[str, ...]
    groups: list[list[str]]
    nonlinear: tuple[str, ...] = ()
    bodies: tuple[str, ...] = ("",)


class Backbone(nn.Module):
    """A network with its card. `model` is the native network: what is saved are its own names.

    Attributes: card; spec, plain data from which `rebuild` makes the network again, without weights; anatomy, and heads
    of it; stages, names from shallow to deep that cover every parameter, the last one being the final layers; frozen,
    the stages that `freeze` froze; holds_statistics, whether BatchNorm stays in evaluation mode, as few images want it.
    """

    def __init__(self, model: nn.Module, anatomy: Anatomy, *, card: ModelCard, spec: dict):
        super().__init__()
        self.model = model
        self.card = card
        self.spec = spec
        self.anatomy = anatomy
        self.heads = anatomy.heads
        self.frozen: frozenset[str] = frozenset()
        self.holds_statistics = False
        sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
        groups = name_groups(separate_heads(anatomy.groups, anatomy.heads), sizes, bodies=anatomy.bodies)
        self.stages = tuple(groups)
        self._stage_of_parameter = {name: stage for stage, names in groups.items() for name in names}
        self._stages_of_module = place_modules(model, self._stage_of_parameter)

    @property
    def num_features(self) -> int:
        """The width D of `features`."""
        return sum(self.widths)

    @property
    def widths(self) -> tuple[int, ...]:
        """How many of them each final layer receives."""
        return tuple(layer.weight.shape[1] for layer in self._layers())

    @property
    def num_classes(self) -> int:
        """The number K of logits."""
        return self._layers()[0].weight.shape[0]

    def _layers(self) -> list[nn.Linear | nn.Conv2d]:
        return [final_layer(self.model, name) for name in self.heads]

    def forward(self, x: Tensor) -> Tensor:
        """The native forward pass: (B, 3, H, W) -> (B, K)."""
        return self.model(x)

    def features(self, x: Tensor) -> Tensor:
        """What the final layers receive, side by side if they are several, averaged over positions if it is a map.

        Shapes: (B, 3, H, W) -> (B, D).
        """
        return self.answer(self.model, x)[1]

    def answer(self, network: nn.Module, inputs: Any) -> tuple[Tensor, Tensor]:
        """What `network`, which ends with the final layers, gives for `inputs`; and what these received, as `features`.

        Shapes: inputs of B rows -> (B, K), (B, D).
        """
        received: dict[nn.Module, Tensor] = {}

        def keep(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            received[layer] = arguments[0]

        layers = self._layers()
        hooks = [layer.register_forward_pre_hook(keep) for layer in layers]
        try:
            logits = network(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        return logits, torch.cat([pooled(received[layer], layer) for layer in layers], dim=1)

    @property
    def classifier(self) -> Head:
        """The final layers as one module: in evaluation `classifier(features(x))` equals `forward(x)`.

        One exception: a pretrained SqueezeNet has a rectifier after its final layer, until `reset_head` removes it.
        """
        return Head(self._layers())

    def stage_of(self, name: str) -> str:
        """The stage of a parameter, buffer or module of `model`; a container of several counts as the first of them.

        Raises: UsageError for a name that is not in the network.
        """
        if name in self._stage_of_parameter:
            return self._stage_of_parameter[name]
        places = self._stages_of_module.get(name) or self._stages_of_module.get(name.rpartition(".")[0])
        if places is None:
            raise UsageError(f"{self.card.name} has no parameter, buffer or module named {name!r}")
        return next(stage for stage in self.stages if stage in places)

    def stage_parameters(self) -> dict[str, list[tuple[str, nn.Parameter]]]:
        """Every parameter of `model` with its name, by stage, shallow to deep."""
        grouped: dict[str, list[tuple[str, nn.Parameter]]] = {stage: [] for stage in self.stages}
        for name, parameter in self.model.named_parameters():
            grouped[self._stage_of_parameter[name]].append((name, parameter))
        return grouped

    def reset_head(
        self,
        num_classes: int,
        *,
        dropping: Dropping = NOTHING_DROPPED,
        generator: torch.Generator | None = None,
    ) -> None:
        """Replace the final layers, under their native names, by fresh ones: He-initialised weights, zero biases.

        The card's classes no longer hold and are dropped.

        Raises: UsageError for fewer than one class, or DropConnect on a convolution.
        """
        for name, layer in zip(self.heads, self._layers()):
            head = new_head(layer, num_classes, dropping=dropping, generator=generator)
            self.model.set_submodule(name, head)
            self._tell_parents(name, num_classes)
        self.make_linear()
        self.card = dataclasses.replace(self.card, classes=())

    def _tell_parents(self, head: str, num_classes: int) -> None:
        """Keep the attribute `num_classes` true, which timm has on the network and on some of its heads."""
        parts, attribute = head.split("."), "num_classes"
        for depth in range(len(parts)):
            parent = self.model.get_submodule(".".join(parts[:depth]))
            if isinstance(getattr(parent, attribute, None), int):
                setattr(parent, attribute, num_classes)

    def make_linear(self) -> None:
        """Remove what stands between the final layers and the logits, where a network has such a thing."""
        for name in self.anatomy.nonlinear:
            self.model.set_submodule(name, nn.Identity())
            self.spec = {**self.spec, "linear_head": True}

    def learn_apart(self) -> None:
        """In training answer (B, n, K) where n networks lie side by side, so that each is led by its own answer."""
        for module in self.model.modules():
            if isinstance(module, MeanAnswer):
                module.apart = True

    @torch.no_grad()
    def set_linear(self, weight: Tensor, bias: Tensor) -> None:
        """Make the logits `features @ weight.T + bias`; exact for several heads too, whose mean the logits are.

        Shapes: weight (K, D); bias (K,), or (H, K) that of each final layer, whose mean counts.
        Raises: UsageError if the shapes are not those of the network.
        """
        expected = (self.num_classes, self.num_features)
        biases = bias.expand(len(self.heads), -1) if bias.ndim == 1 else bias
        if tuple(weight.shape) != expected or tuple(biases.shape) != (len(self.heads), self.num_classes):
            raise UsageError(f"the head takes a weight of shape {expected}, not {tuple(weight.shape)}")
        self.make_linear()
        layers = self._layers()
        for layer, part, own in zip(layers, weight.split(self.widths, dim=1), biases):
            layer.weight.copy_((part * len(layers)).reshape(layer.weight.shape))
            layer.get_parameter("bias").copy_(own)

    @torch.no_grad()
    def divide_logits(self, temperature: float) -> None:
        """Divide the logits by a number above 0, in the weights of the final layers."""
        for layer in self._layers():
            for parameter in layer.parameters():
                parameter.div_(temperature)

    def freeze(self, stages: Collection[str]) -> None:
        """Freeze those stages, thaw all others. Frozen: no gradient, and in evaluation mode whatever `train` is told.

        Raises: UsageError for an unknown stage.
        """
        unknown = [stage for stage in stages if stage not in self.stages]
        if unknown:
            raise UsageError(f"{self.card.name} has no stage {unknown[0]!r}; its stages are {', '.join(self.stages)}")
        self.frozen = frozenset(stages)
        for stage, parameters in self.stage_parameters().items():
            for _, parameter in parameters:
                parameter.requires_grad_(stage not in self.frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        """Set training or evaluation mode; modules all of whose content is frozen stay in evaluation mode.

        So do all BatchNorm layers if `holds_statistics`: their means and variances stay as they are.
        """
        super().train(mode)
        for name, module in self.model.named_modules():
            is_frozen = self._stages_of_module.get(name, frozenset(self.stages)) <= self.frozen
            if is_frozen or (self.holds_statistics and isinstance(module, _BatchNorm)):
                module.training = False
        return self

    def split(self, stage: str) -> tuple[nn.Module, nn.Module]:
        """Two modules that share the weights, such that `suffix(prefix(x))` is `forward(x)` in evaluation.

        The prefix holds everything that depends only on the stages up to and including `stage`. What it returns is a
        tensor or a tuple of tensors with one row an image. Where a network cannot be cut there, the prefix is an
        `nn.Identity`.

        Raises: UsageError for an unknown stage.
        """
        if stage not in self.stages:
            raise UsageError(f"{self.card.name} has no stage {stage!r}; its stages are {', '.join(self.stages)}")
        leaves = {f"model.{name}" for name, places in self._stages_of_module.items() if len(places) == 1}
        order = {name: depth for depth, name in enumerate(self.stages)}
        weight = self._layers()[0].weight
        example = torch.zeros(2, 3, *self.card.preprocessing.size_px, dtype=weight.dtype, device=weight.device)
        mode = self.training
        self.eval()
        try:
            graph = split.trace(self, leaves, example=example)
        finally:
            self.train(mode)
        whole = nn.Identity(), self.model
        if graph is None:
            return whole
        return split.cut(self, graph, depth=order[stage], depth_of=lambda name: order[self.stage_of(name[6:])]) or whole
