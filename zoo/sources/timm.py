"""The classifiers of timm."""

import dataclasses
from contextlib import suppress
from typing import Any

from transferkit.zoo.blueprint import Blueprint
from transferkit.zoo.errors import UsageError
from transferkit.zoo.sources.source import Source, is_path

ORGANISATION = "timm"  # on the hub


class Timm(Source):
    """`NAME`, `NAME.TAG` or `timm:NAME`: it takes every name that is no path, so nothing is tried after it."""

    help = "any timm name"
    family = "timm"
    libraries = ("timm",)

    def find(self, name: str) -> str | None:
        """The name without its prefix, unless it is a path."""
        return None if is_path(name) else name.removeprefix("timm:")

    def open(self, name: str, *, offline: bool) -> Blueprint:
        """The network of that name. Raises: UsageError if timm has no such network or tag."""
        from transferkit.zoo import from_timm

        return from_timm.by_name(name)

    def cached(self) -> list[str]:
        """Those of which timm's repository is in the hub's cache, with its weights."""
        from transferkit.zoo.downloads import cached_repositories

        found = []
        for name in cached_repositories(ORGANISATION, "model.safetensors"):
            with suppress(UsageError):  # not in this version of timm, or for another library
                self.open(name, offline=True)
                found.append(name)
        return found

    def names(self) -> list[str]:
        """All that timm lists, with tags and without."""
        import timm

        return sorted({*timm.list_models(), *timm.list_models(include_tags=True)})

    def by_spec(self, spec: dict[str, Any]) -> Blueprint | None:
        """The network of a spec. Raises: UsageError if timm has none."""
        from transferkit.zoo import from_timm

        return dataclasses.replace(from_timm.by_name(spec["architecture"]), model_args=dict(spec["model_args"]))
