"""The networks that travel with the package."""

from typing import Any

from transferkit.zoo import embedded
from transferkit.zoo.blueprint import Blueprint
from transferkit.zoo.card import ModelCard
from transferkit.zoo.sources.source import Source


class Embedded(Source):
    """A name that `transferkit zoo list` shows."""

    help = "a name of `transferkit zoo list`"
    family = "transferkit"
    travels = embedded.NAMES

    def find(self, name: str) -> str | None:
        """The name, if it is one of these."""
        return name if name in embedded.NAMES else None

    def open(self, name: str, *, offline: bool) -> Blueprint:
        """The network of that name."""
        return embedded.Blueprint(name=name)

    def names(self) -> list[str]:
        """All of them."""
        return [*embedded.NAMES]

    def by_spec(self, spec: dict[str, Any]) -> Blueprint | None:
        """The network of a spec, if this version has it."""
        name = self.find(spec.get("architecture", ""))
        return self.open(name, offline=True) if name else None

    def card(self, name: str) -> ModelCard:
        """What is known of it, with its measured accuracy. Raises: ModelFileError for a missing file."""
        return embedded.card(name)
