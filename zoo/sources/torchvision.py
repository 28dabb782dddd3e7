"""The classifiers of torchvision."""

from typing import Any

from transferkit.zoo.blueprint import Blueprint
from transferkit.zoo.sources.source import Source, is_path, prefix


class Torchvision(Source):
    """`torchvision:NAME`, with torchvision's default weights."""

    help = "torchvision:NAME"
    family = "torchvision"
    libraries = ("torchvision",)

    def find(self, name: str) -> str | None:
        """The name, if it has the prefix."""
        return name if prefix(name) == "torchvision" and not is_path(name) else None

    def open(self, name: str, *, offline: bool) -> Blueprint:
        """The network of that name. Raises: UsageError if torchvision has none."""
        from transferkit.zoo import from_torchvision

        return from_torchvision.Blueprint(architecture=name.partition(":")[2])

    def names(self) -> list[str]:
        """All that torchvision lists."""
        from transferkit.zoo import from_torchvision

        return [f"torchvision:{name}" for name in from_torchvision.names()]

    def by_spec(self, spec: dict[str, Any]) -> Blueprint | None:
        """The network of a spec. Raises: UsageError if torchvision has none."""
        from transferkit.zoo import from_torchvision

        is_linear = spec.get("linear_head", False)
        return from_torchvision.Blueprint(architecture=spec.get("architecture", ""), is_linear=is_linear)
