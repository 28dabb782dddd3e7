"""The networks that travel with the package: their cards, readable without torch, and how to build them."""

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.zoo.card import ModelCard
from transferkit.zoo.errors import ModelFileError, UsageError

if TYPE_CHECKING:
    from transferkit.zoo.backbone import Backbone

NAMES = ("cifar_mlp", "cifar_resnet")
FIXED_SIZE_PX = {"cifar_mlp": 32}  # where the first layer has a weight for each pixel
MIN_SIZE_PX = {"cifar_resnet": 9}  # three poolings leave nothing of less
FOLDER = Path(__file__).parent
CARDS = FOLDER / "cards"  # NAME.json, and NAME.recipe.json with the numbers of its training


def card(name: str) -> ModelCard:
    """The card that the package has of a network. Raises: ModelFileError if there is none."""
    path = CARDS / f"{name}.json"
    if not path.is_file():
        raise ModelFileError(f"the card of {name} is missing from the installation: {path}")
    return ModelCard.from_json(path.read_text(encoding="utf-8"))


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """An embedded network before it is built."""

    name: str
    size_px: int | None = None

    def resized(self, size_px: int) -> "Blueprint":
        """The same for square images of another size. Raises: UsageError if the network cannot take them."""
        only = FIXED_SIZE_PX.get(self.name, size_px)
        if size_px != only:
            raise UsageError(
                f"{self.name} takes images of {only} px, not {size_px}; leave the image size out, or take cifar_resnet"
            )
        least = MIN_SIZE_PX.get(self.name, 1)
        if size_px < least:
            raise UsageError(f"{self.name} takes images of {least} px and more, not {size_px}")
        return dataclasses.replace(self, size_px=size_px)

    def pretrained(self, *, offline: bool) -> Path:
        """The weights in the installation; `offline` changes nothing. Raises: ModelFileError if they are missing."""
        path = FOLDER / "weights" / f"{self.name}.safetensors"
        if not path.is_file():
            raise ModelFileError(f"the weights of {self.name} are missing from the installation: {path}")
        return path

    def card(self) -> ModelCard:
        """Its card, for the image size asked."""
        known = card(self.name)
        size = (self.size_px, self.size_px) if self.size_px else known.preprocessing.size_px
        return dataclasses.replace(known, preprocessing=dataclasses.replace(known.preprocessing, size_px=size))

    def build(self, *, num_classes: int | None = None, weights: Path | None = None) -> "Backbone":
        """The network with the weights of a file, or random ones; without `num_classes` it keeps the head it has.

        Raises: ModelFileError if the card is missing or the file does not fit.
        """
        from transferkit.zoo import packed
        from transferkit.zoo.backbone import Anatomy, Backbone
        from transferkit.zoo.mlp import CifarMlp
        from transferkit.zoo.resnet import CifarResNet
        from transferkit.zoo.stages import group_by_children
        from transferkit.zoo.unfilled import Unfilled
        from transferkit.zoo.weights import load_state

        network = {"cifar_mlp": CifarMlp, "cifar_resnet": CifarResNet}[self.name]
        known = self.card()
        tensors = packed.read(weights) if weights else {}
        had = len(tensors["fc.bias"]) if "fc.bias" in tensors else num_classes or len(known.classes)
        with Unfilled() if weights else contextlib.nullcontext():
            model = network(had)
        if weights:
            load_state(model, tensors, source=weights)
        anatomy = Anatomy(heads=("fc",), groups=group_by_children(key for key, _ in model.named_parameters()))
        spec = {"family": "transferkit", "architecture": self.name, "model_args": {}}
        backbone = Backbone(model, anatomy, card=known, spec=spec)
        if num_classes not in (None, had):
            backbone.reset_head(num_classes)
        return backbone
