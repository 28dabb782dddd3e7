"""Networks side by side under one head, `A+B`."""

from typing import Any

from transferkit.zoo.blueprint import Blueprint
from transferkit.zoo.sources.source import Source


class SideBySide(Source):
    """Those in model folders of ours. By name, `create` asks the sources of each of them."""

    help = "several of them with + between"
    family = "side_by_side"

    def find(self, name: str) -> str | None:
        """None: their names are those of the others."""
        return None

    def open(self, name: str, *, offline: bool) -> Blueprint:
        """Nothing is found here. Raises: LookupError."""
        raise LookupError(name)

    def by_spec(self, spec: dict[str, Any]) -> Blueprint | None:
        """The networks of a spec, if it has any."""
        from transferkit.zoo import side_by_side

        return side_by_side.Blueprint(spec=spec) if spec.get("bodies") else None
