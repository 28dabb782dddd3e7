"""Several networks side by side as one: each sees the image, prepared its own way; one linear head has all features.

A linear layer over features that lie side by side is a layer for each of them whose answers are added. So the head of
each network stays in its place, and the logits of all are their mean.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from transferkit.zoo import files, own_folder
from transferkit.zoo.backbone import Anatomy, Backbone
from transferkit.zoo.card import ModelCard, Preprocessing
from transferkit.zoo.errors import ModelFileError, UsageError
from transferkit.zoo.final_layers import MeanAnswer
from transferkit.zoo.names import SIDE_BY_SIDE
from transferkit.zoo.weights import load_state

FAMILY = "side_by_side"


class Prepare(nn.Module):
    """Images that are prepared for one network as another one wants them. Shapes: (B, 3, H, W) -> (B, 3, h, w).

    A size is changed by the filter by which the wanted one's photos are, as two products with matrices, which every
    exporter knows.
    """

    rows: Tensor
    columns: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, given: Preprocessing, wanted: Preprocessing):
        super().__init__()
        self._is_same_size = given.size_px == wanted.size_px
        pairs = list(zip(given.mean, given.std, wanted.mean, wanted.std))
        self._is_same = all(mean == other and std == another for mean, std, other, another in pairs)
        scale = [std / another for _, std, _, another in pairs]
        shift = [(mean - other) / another for mean, _, other, another in pairs]
        if not self._is_same_size:
            for name, side, other in zip(("rows", "columns"), given.size_px, wanted.size_px):
                self.register_buffer(name, _resizing(side, other, wanted.interpolation), persistent=False)
        self.register_buffer("scale", torch.tensor(scale).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(shift).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self._is_same_size:
            x = self.rows @ x @ self.columns.T
        return x if self._is_same else x * self.scale + self.shift


def _resizing(side: int, other: int, interpolation: str) -> Tensor:
    """What a column of `side` pixels is multiplied by to have `other` of them; shape (other, side)."""
    each_pixel = Image.fromarray(np.eye(side, dtype=np.float32))
    return torch.from_numpy(np.array(each_pixel.resize((side, other), Image.Resampling[interpolation.upper()])))


class SideBySide(nn.Module):
    """The networks of several backbones on the same images. Shapes: (B, 3, H, W) -> (B, K)."""

    def __init__(self, bodies: Sequence[nn.Module], prepares: Sequence[Prepare], heads: Sequence[int]):
        super().__init__()
        self.prepares = nn.ModuleList(prepares)  # before what they feed: a cut leaves them on its lower side
        self.bodies = nn.ModuleList(bodies)
        self.mean = MeanAnswer(heads)

    def forward(self, x: Tensor) -> Tensor:
        """The mean of the logits over all final layers; in training, where networks learn apart, those of each."""
        return self.mean(*(body(prepare(x)) for body, prepare in zip(self.bodies, self.prepares)))


def join(bodies: Sequence[Backbone]) -> Backbone:
    """The backbones as one, in evaluation mode; it shares their weights.

    Heads of different numbers of classes, whose answers nobody can add, become fresh ones.
    """
    if len({body.num_classes for body in bodies}) > 1:
        for body in bodies:
            body.reset_head(bodies[0].num_classes)
    card = joined_card([body.card for body in bodies])
    prepares = [Prepare(card.preprocessing, body.card.preprocessing) for body in bodies]
    model = SideBySide([body.model for body in bodies], prepares, [len(body.heads) for body in bodies])
    entries = [
        {
            "spec": body.spec,
            "preprocessing": dataclasses.asdict(body.card.preprocessing),
            "backbone": {key: getattr(body.card, key) for key in ("name", "license", "source")},
        }
        for body in bodies
    ]
    spec = {"family": FAMILY, "architecture": card.architecture, "model_args": {}, "bodies": entries}
    return Backbone(model, _anatomy(bodies), card=card, spec=spec).eval()


def bodies_of(backbone: Backbone) -> list[Backbone]:
    """The backbones that lie side by side, each with its head, sharing the weights; none if it is a single one.

    The logits of the whole are the mean of theirs.
    """
    found = []
    for number, entry in enumerate(backbone.spec.get("bodies", ())):
        network = backbone.model.get_submodule(f"bodies.{number}")
        anatomy = _part(backbone.anatomy, f"bodies.{number}.")
        parameters = sum(parameter.numel() for parameter in network.parameters())
        card = ModelCard(
            **entry["backbone"],
            architecture=entry["spec"]["architecture"],
            preprocessing=Preprocessing(**entry["preprocessing"]),
            parameters=parameters,
        )
        linear = {"linear_head": True} if backbone.spec.get("linear_head") and anatomy.nonlinear else {}
        found.append(Backbone(network, anatomy, card=card, spec=entry["spec"] | linear))
    return found


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """The networks of a spec of ours, before they are built."""

    spec: dict[str, Any]

    def resized(self, size_px: int) -> "Blueprint":
        """Refused: each network has its own size. Raises: UsageError."""
        raise UsageError("networks that lie side by side keep their image sizes; name the networks to change them")

    def card(self) -> ModelCard:
        """What is known without building them."""
        return ModelCard(name=self.spec["architecture"], architecture=self.spec["architecture"])

    def pretrained(self, *, offline: bool) -> Path:
        """Refused: they have no weights but those of a model folder. Raises: ModelFileError."""
        raise ModelFileError(f"{self.spec['architecture']} has no weights of its own")

    def build(self, *, num_classes: int | None = None, weights: Path | None = None) -> Backbone:
        """The networks with the weights of a file that was written for them all, or random ones.

        Raises: ModelFileError if the file does not fit.
        """
        is_linear = {"linear_head": True} if self.spec.get("linear_head") else {}
        bodies = []
        for entry in self.spec["bodies"]:
            built = own_folder.by_spec(entry["spec"] | is_linear).build(num_classes=num_classes)
            built.card = dataclasses.replace(
                built.card, preprocessing=Preprocessing(**entry["preprocessing"]), **entry["backbone"]
            )
            bodies.append(built)
        joined = join(bodies)
        return filled(joined, weights, num_classes=num_classes) if weights else joined


def filled(backbone: Backbone, weights: Path, *, num_classes: int | None) -> Backbone:
    """A network of several final layers with the weights of a file that was written for all of it.

    Args: num_classes, None for those of the file; for others it gets a fresh head.
    Raises: ModelFileError if the file does not fit.
    """
    tensors = files.read_safetensors(weights)
    had = next((len(tensors[f"{name}.weight"]) for name in backbone.heads if f"{name}.weight" in tensors), None)
    if had is not None and backbone.num_classes != had:
        backbone.reset_head(had)
    load_state(backbone.model, tensors, source=weights)
    if num_classes not in (None, had):
        backbone.reset_head(num_classes)
    return backbone


def joined_card(cards: Sequence[ModelCard]) -> ModelCard:
    """What is known of networks side by side. Photos are prepared as for the one that sees the most pixels."""
    own = max((card.preprocessing for card in cards), key=lambda each: each.size_px[0] * each.size_px[1])
    classes = {card.classes for card in cards}
    return ModelCard(
        name=SIDE_BY_SIDE.join(card.name for card in cards),
        architecture=SIDE_BY_SIDE.join(card.architecture for card in cards),
        preprocessing=own,
        classes=classes.pop() if len(classes) == 1 else (),
        parameters=sum(card.parameters for card in cards),
        license=", ".join(dict.fromkeys(card.license for card in cards)),
        source=", ".join(dict.fromkeys(card.source for card in cards)),
        description="Networks whose features lie side by side under one head.",
    )


def _anatomy(bodies: Sequence[Backbone]) -> Anatomy:
    """Where the parts of all are; their groups pair up by depth."""
    heads, nonlinear, starts = [], [], []
    depth = max(len(body.anatomy.groups) for body in bodies)
    groups: list[list[str]] = [[] for _ in range(depth)]
    for number, body in enumerate(bodies):
        start, own = f"bodies.{number}.", body.anatomy
        heads += [start + name for name in own.heads]
        nonlinear += [start + name for name in own.nonlinear]
        starts += [start + name for name in own.bodies]
        for place, group in enumerate(own.groups):
            level = round(place * (depth - 1) / max(len(own.groups) - 1, 1))
            groups[level] += [start + name for name in group]
    return Anatomy(
        heads=tuple(heads),
        groups=[group for group in groups if group],
        nonlinear=tuple(nonlinear),
        bodies=tuple(starts),
    )


def _part(whole: Anatomy, start: str) -> Anatomy:
    """What of an anatomy lies below a prefix, by the names there."""

    def below(names: Sequence[str]) -> list[str]:
        return [name.removeprefix(start) for name in names if name.startswith(start)]

    groups = [part for group in whole.groups if (part := below(group))]
    heads, nonlinear, bodies = (tuple(below(names)) for names in (whole.heads, whole.nonlinear, whole.bodies))
    return Anatomy(heads=heads, groups=groups, nonlinear=nonlinear, bodies=bodies)
