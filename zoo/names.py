"""Every name of a network that there is; timm and torchvision take seconds to import, so theirs are kept."""

import difflib
import fnmatch
from contextlib import suppress
from itertools import islice
from pathlib import Path

from transferkit.zoo import cache_folder, embedded
from transferkit.zoo.errors import StorageError

MAX_BESIDE = 10_000  # folders that are looked at


def search(pattern: str) -> list[str]:
    """The names of timm (with tags) and torchvision that match a shell pattern such as `*convnext*tiny*`."""
    return fnmatch.filter(_known(), pattern)


def suggest(name: str) -> list[str]:
    """Up to three known names that look like `name`."""
    return difflib.get_close_matches(name.removeprefix("timm:"), _known(), n=3)


def is_path(name: str) -> bool:
    """Whether somebody who writes this means a folder: no name of a network has a separator, but those of the hub."""
    return not name.startswith("hf-hub:") and (name.startswith((".", "~")) or any(sign in name for sign in "/\\"))


def missing_folder(name: str) -> str:
    """What to say of a path that is not there: how far it is there, and which folders beside it look alike."""
    said = f"no such run, folder or network: {name}"
    parent = Path(name).parent
    if not parent.is_dir():
        return f"{said}; there is no folder {parent}"
    beside = [path.name for path in islice(parent.iterdir(), MAX_BESIDE) if path.is_dir()]
    near = difflib.get_close_matches(Path(name).name, beside, n=3)
    return said + (f"; did you mean {' or '.join(str(parent / each) for each in near)}?" if near else "")


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
