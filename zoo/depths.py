"""A network whose head has features of earlier stages too, each averaged over the image.

What tells textures, materials and gestures apart is often seen at twice the resolution of the last stage, and gone
after it. As with networks side by side, a linear layer over all features is a layer for each part whose answers are
added: the head of the network stays in its place, each stage gets one of its own, and the logits are the mean of all.

Source: features of several depths under a linear classifier, Evci et al. 2022, https://arxiv.org/abs/2201.03529
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from transferkit.zoo import own_folder, side_by_side, sizes, sources
from transferkit.zoo.backbone import Anatomy, Backbone
from transferkit.zoo.blueprint import Blueprint
from transferkit.zoo.card import ModelCard
from transferkit.zoo.errors import ModelFileError, UsageError
from transferkit.zoo.names import DEPTH, parts, with_stages

FAMILY = "depths"
TimmNetwork = Any  # an nn.Module with what timm adds: feature_info, forward_intermediates, forward_head


class Depths(nn.Module):
    """A network of timm and layers on what some of its stages give. Shapes: (B, 3, H, W) -> (B, K)."""

    def __init__(self, body: TimmNetwork, places: Sequence[int], widths: Sequence[int], *, heads: int, classes: int):
        super().__init__()
        self.body = body
        self.heads = nn.ModuleList(nn.Linear(width, classes) for width in widths)
        self._places = list(places)  # of the stages, in the order of timm's feature_info
        self._own = heads  # final layers of the body, whose answers it averages

    def forward(self, x: Tensor) -> Tensor:
        """The mean of the logits over all final layers."""
        last, maps = self.body.forward_intermediates(x, indices=self._places)  # maps (B, C, h, w)
        logits = self.body.forward_head(last) * self._own
        for head, each in zip(self.heads, maps):
            logits = logits + head(each.mean((2, 3)))
        return logits / (self._own + len(self.heads))


def stages(backbone: Backbone) -> dict[str, int]:
    """How many features each stage of a network gives, by name, shallow to deep; none if it gives none."""
    network: TimmNetwork = backbone.model
    if not hasattr(network, "forward_intermediates") or not hasattr(network, "feature_info"):
        return {}
    return {about["module"]: about["num_chs"] for about in network.feature_info}


def deeper_name(name: str) -> str:
    """The name of the same network with its last two stages; "" if it has none of a higher resolution than the last.

    Of networks whose own features are the average of the last stage it is the one before alone.

    Raises: as `create`, for a network that is not on this machine.
    """
    is_single = len(parts(name)) == 1 and with_stages(f"{name}{DEPTH}any") == (name, ["any"])  # what follows is a stage
    if not is_single or (found := sources.find(name)) is None:
        return ""
    source, own = found
    backbone = sizes.hollow(source.open(own, offline=True))
    if not stages(backbone):
        return ""
    info: Any = backbone.model.feature_info
    *earlier, last = info
    finer = [each["module"] for each in earlier if each["reduction"] < last["reduction"]][-1:]
    wanted = finer + [last["module"]] * (last["num_chs"] != backbone.num_features)
    return DEPTH.join([name, *wanted]) if finer else ""


def deepened(backbone: Backbone, wanted: Sequence[str]) -> Backbone:
    """The backbone, whose weights it shares, with the features of the stages `wanted` beside its own.

    The new layers are zero, so that the answers are a share of what they were: a head is fitted in any case.

    Raises: UsageError if the network has no such stage, or gives no features of stages.
    """
    known, name = stages(backbone), backbone.card.name
    if not known:
        raise UsageError(f"{name} gives no features of earlier stages; leave out {DEPTH}{DEPTH.join(wanted)}")
    for stage in wanted:
        if stage not in known or wanted.count(stage) > 1:
            said = "is named twice" if stage in known else "is no stage whose features it gives"
            raise UsageError(f"{stage!r} of {name} {said}; those are {', '.join(known)}")
    order = list(known)
    wanted = sorted(wanted, key=order.index)
    network = Depths(
        backbone.model,
        [order.index(stage) for stage in wanted],
        [known[stage] for stage in wanted],
        heads=len(backbone.heads),
        classes=backbone.num_classes,
    )
    for parameter in network.heads.parameters():
        nn.init.zeros_(parameter)
    network.heads.to(next(backbone.model.parameters()).device)
    card = deeper_card(backbone.card, wanted)
    added = sum(parameter.numel() for parameter in network.heads.parameters())
    card = dataclasses.replace(card, parameters=backbone.card.parameters + added)
    spec = {**backbone.spec, "family": FAMILY, "of": backbone.spec["family"], "stages": wanted}
    return Backbone(network, _anatomy(backbone, len(wanted)), card=card, spec=spec).eval()


def deeper_card(card: ModelCard, wanted: Sequence[str]) -> ModelCard:
    """What is known of a network with features of those stages; the parameters are those of the network alone."""
    ending = "".join(f"{DEPTH}{stage}" for stage in wanted)
    return dataclasses.replace(
        card,
        name=card.name + ending,
        architecture=card.architecture + ending,
        classes=(),
        description=f"{card.description} Its head has the features of {', '.join(wanted)} too.".strip(),
    )


@dataclass(frozen=True, kw_only=True)
class DeepBlueprint:
    """The network of a spec of ours, before it is built."""

    inner: Blueprint
    wanted: tuple[str, ...]

    @classmethod
    def of(cls, spec: dict[str, Any]) -> "DeepBlueprint":
        """That of a `Backbone.spec`. Raises: ModelFileError if this version has no such network."""
        inner = {key: value for key, value in spec.items() if key not in ("of", "stages")} | {"family": spec["of"]}
        return cls(inner=own_folder.by_spec(inner), wanted=tuple(spec["stages"]))

    @property
    def model_args(self) -> dict[str, Any]:
        """The arguments of the network, which decide its size."""
        return getattr(self.inner, "model_args", {})

    def resized(self, size_px: int) -> "DeepBlueprint":
        """The same for square images of another size."""
        return dataclasses.replace(self, inner=self.inner.resized(size_px))

    def card(self) -> ModelCard:
        """What is known without building it."""
        return deeper_card(self.inner.card(), self.wanted)

    def pretrained(self, *, offline: bool) -> Path:
        """The weights of the network alone. Raises: as its own."""
        return self.inner.pretrained(offline=offline)

    def build(self, *, num_classes: int | None = None, weights: Path | None = None) -> Backbone:
        """The network with the weights of a file that was written for it, or random ones.

        Raises: ModelFileError if the file does not fit, or the network has no such stages.
        """
        try:
            built = deepened(self.inner.build(num_classes=num_classes), self.wanted)
        except UsageError as error:
            raise ModelFileError(f"features of stages of {self.inner.card().name} cannot be built: {error}") from error
        return side_by_side.filled(built, weights, num_classes=num_classes) if weights else built


def _anatomy(backbone: Backbone, added: int) -> Anatomy:
    own = backbone.anatomy
    groups = [[f"body.{name}" for name in group] for group in own.groups]
    heads = [f"heads.{number}" for number in range(added)]
    groups[-1] += [f"{head}.{leaf}" for head in heads for leaf in ("weight", "bias")]
    return Anatomy(
        heads=(*(f"body.{name}" for name in own.heads), *heads),
        groups=groups,
        nonlinear=tuple(f"body.{name}" for name in own.nonlinear),
        bodies=tuple(f"body.{start}" for start in own.bodies),
    )
