"""Every name of a network that there is; libraries take seconds to import, so theirs are kept."""

import difflib
import fnmatch
import glob
import os
from itertools import islice
from pathlib import Path

from transferkit.zoo import cache_folder, sources
from transferkit.zoo.disk_cache import DiskCache

MAX_BESIDE = 10_000  # folders that are looked at
SIDE_BY_SIDE = "+"  # between the names of networks that share a head
DEPTH = "@"  # before the name of a stage whose features the head has, too


def search(pattern: str) -> list[str]:
    """The names of all sources (timm's with tags) that match a shell pattern such as `*convnext*tiny*`, in any case.

    A word alone is looked for anywhere in a name. timm tells two generations of SigLIP apart by the tag of the weights;
    both names are found.
    """
    pattern = pattern.lower() if glob.has_magic(pattern) else f"*{pattern.lower()}*"
    return [name for name in _known() if any(fnmatch.fnmatchcase(each.lower(), pattern) for each in _also(name))]


def _also(name: str) -> list[str]:
    """A name, and what its weights are called elsewhere."""
    return [name, name.replace("siglip", "siglip2")] if ".v2_webli" in name else [name]


def suggest(name: str) -> list[str]:
    """Up to three known names that look like `name`."""
    found = (source.find(name) for source in sources.SOURCES if not source.takes_paths)
    listed = next((own for own in found if own is not None), name)
    return difflib.get_close_matches(listed, _known(), n=3)


def parts(name: str) -> list[str]:
    """The names of networks side by side in a name; that alone, if it is one network's, or a path that is there.

    >>> parts("efficientnet_lite0+timm:resnet18")
    ['efficientnet_lite0', 'timm:resnet18']
    """
    return [name] if os.path.exists(name) else name.split(SIDE_BY_SIDE)


def with_stages(name: str) -> tuple[str, list[str]]:
    """The name of a network, and the stages that it names; a path that is there and a revision on the hub name none.

    >>> with_stages("efficientnet_lite0@blocks.4"), with_stages("hf-hub:timm/resnet18@main")
    (('efficientnet_lite0', ['blocks.4']), ('hf-hub:timm/resnet18@main', []))
    """
    if DEPTH not in name or name.startswith("hf-hub:") or os.path.exists(name):
        return name, []
    network, *stages = name.split(DEPTH)
    return network, stages


def missing_folder(name: str, *, what: str = "run, folder or network") -> str:
    """What to say of a path that is not there: how far it is there, and which folders beside it look alike."""
    said = f"no such {what}: {name}"
    parent = Path(name).parent
    if not parent.is_dir():
        return f"{said}; there is no folder {parent}"
    beside = [path.name for path in islice(parent.iterdir(), MAX_BESIDE) if path.is_dir()]
    near = difflib.get_close_matches(Path(name).name, beside, n=3)
    return said + (f"; did you mean {' or '.join(str(parent / each) for each in near)}?" if near else "")


def _known() -> list[str]:
    """The names of all sources."""
    own = [name for source in sources.SOURCES if not source.libraries for name in source.names()]
    return sorted([*own, *_of_libraries()], key=lambda name: ":" in name)  # stable: no prefix first, nothing else moves


def _of_libraries() -> list[str]:
    """The names of those sources that depend on libraries, of the versions installed."""
    from importlib import metadata

    asked = [source for source in sources.SOURCES if source.libraries]
    libraries = sorted({library for source in asked for library in source.libraries})
    kept = DiskCache(cache_folder.find(), "names")
    path = kept.folder / f"{'-'.join(f'{name}-{metadata.version(name)}' for name in libraries)}.json"
    if found := cache_folder.read(path):  # None: not kept yet, or damaged
        return found["names"]
    names = [name for source in asked for name in source.names()]
    kept.write(path, cache_folder.write, {"names": names})
    return names
