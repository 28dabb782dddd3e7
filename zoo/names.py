"""Every name of a network that there is; timm and torchvision take seconds to import, so theirs are kept."""

import difflib
import fnmatch
from contextlib import suppress

from transferkit.zoo import cache_folder, embedded
from transferkit.zoo.errors import StorageError


def search(pattern: str) -> list[str]:
    """The names of timm (with tags) and torchvision that match a shell pattern such as `*convnext*tiny*`."""
    return fnmatch.filter(_known(), pattern)


def suggest(name: str) -> list[str]:
    """Up to three known names that look like `name`."""
    return difflib.get_close_matches(name.removeprefix("timm:"), _known(), n=3)


def _known() -> list[str]:
    """The embedded networks, those of timm, with and without tags, and torchvision's, of the versions installed."""
    from importlib import metadata

    libraries = "-".join(f"{name}-{metadata.version(name)}" for name in ("timm", "torchvision"))
    path = cache_folder.find() / "names" / f"{libraries}.json"
    if kept := cache_folder.read(path):  # None: not kept yet, or damaged
        return [*embedded.NAMES, *kept["names"]]
    import timm

    from transferkit.zoo import from_torchvision

    names = sorted({*timm.list_models(), *timm.list_models(include_tags=True)})
    names += [f"torchvision:{name}" for name in from_torchvision.names()]
    with suppress(StorageError):
        cache_folder.opened()
        cache_folder.write(path, {"names": names})
    return [*embedded.NAMES, *names]
