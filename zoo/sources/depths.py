"""Networks whose head has features of earlier stages too, `NAME@STAGE`."""

from typing import Any

from transferkit.zoo.blueprint import Blueprint
from transferkit.zoo.sources.source import Source


class Depths(Source):
    """Those in model folders of ours. By name, `create` asks the source of the network."""

    help = "one of them with @STAGE"
    family = "depths"

    def find(self, name: str) -> str | None:
        """None: their names begin with those of the others."""
        return None

    def open(self, name: str, *, offline: bool) -> Blueprint:
        """Nothing is found here. Raises: LookupError."""
        raise LookupError(name)

    def by_spec(self, spec: dict[str, Any]) -> Blueprint | None:
        """The network of a spec, if it names stages of a network of another family."""
        from transferkit.zoo import depths

        is_whole = spec.get("stages") and spec.get("of") not in (None, "", self.family)
        return depths.DeepBlueprint.of(spec) if is_whole else None
