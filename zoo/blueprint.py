"""What each source of networks makes of a name: a network that is not built yet."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from transferkit.zoo.card import ModelCard

if TYPE_CHECKING:
    from transferkit.zoo.backbone import Backbone


class Blueprint(Protocol):
    """What each source of networks makes of a name: a network that is not built yet."""

    def resized(self, size_px: int) -> "Blueprint":
        """The same for square images of another size."""
        ...

    def card(self) -> ModelCard:
        """What is known of it before it is built."""
        ...

    def pretrained(self, *, offline: bool) -> Path:
        """The safetensors file of its pretrained weights."""
        ...

    def build(self, *, num_classes: int | None = None, weights: Path | None = None) -> "Backbone":
        """The network, with random weights if no file is given."""
        ...
