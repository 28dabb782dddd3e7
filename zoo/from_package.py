"""Networks of timm whose weights another distribution carries."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from transferkit.zoo import embedded, from_timm, packages, sizes
from transferkit.zoo.card import ModelCard


@dataclass(frozen=True, kw_only=True)
class Blueprint(from_timm.Blueprint):
    """A timm network before it is built, with a card of ours."""

    def pretrained(self, *, offline: bool) -> Path:
        """Its weights in the cache; `offline` changes nothing. Raises: ModelFileError, StorageError."""

        def shapes() -> packages.Shapes:
            state = sizes.hollow(self, num_classes=None).model.state_dict()
            return {name: tuple(tensor.shape) for name, tensor in state.items()}

        return packages.converted(self.name, shapes)

    def card(self) -> ModelCard:
        """Our card, for the image size asked."""
        return dataclasses.replace(embedded.card(self.name), preprocessing=super().card().preprocessing)


def by_name(name: str) -> Blueprint:
    """The blueprint of one of `packages.NAMES`. Raises: UsageError if timm has no such network."""
    known = from_timm.by_name(embedded.card(name).architecture)
    return Blueprint(name=name, architecture=known.architecture, cfg=known.cfg)
