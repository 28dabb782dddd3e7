"""Networks in timm's format on the Hugging Face hub."""

from pathlib import Path

from transferkit.zoo import hashes
from transferkit.zoo.blueprint import Blueprint
from transferkit.zoo.sources.source import Source, prefix


class HfHub(Source):
    """`hf-hub:ORGANISATION/NAME`, or `hf-hub:ORGANISATION/NAME@REVISION`. timm builds its networks again."""

    help = "hf-hub:ORG/NAME"
    is_foreign = True

    def find(self, name: str) -> str | None:
        """The name, if it has the prefix."""
        return name if prefix(name) == "hf-hub" else None

    def open(self, name: str, *, offline: bool) -> Blueprint:
        """The network in a repository's config.json. Raises: UsageError, ModelFileError, NetworkError."""
        from transferkit.zoo import from_timm

        config = hashes.read_object(self._config(name, offline=offline))
        return from_timm.by_config(config, name=name, hub=name.partition(":")[2])

    def files(self, name: str) -> list[Path]:
        """Its configuration, which lies where the hub's client keeps it. Raises: as `open`."""
        return [self._config(name, offline=True)]

    def _config(self, name: str, *, offline: bool) -> Path:
        from transferkit.zoo.downloads import from_hub

        return from_hub(name.partition(":")[2], "config.json", offline=offline)
