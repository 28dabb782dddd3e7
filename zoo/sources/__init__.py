"""The table of sources of backbones, one file each, in the order in which they are asked for a name.

Nothing heavy is imported before one of them opens a network.
"""

from transferkit.zoo.sources.depths import Depths
from transferkit.zoo.sources.embedded import Embedded
from transferkit.zoo.sources.hf_hub import HfHub
from transferkit.zoo.sources.model_folder import ModelFolder
from transferkit.zoo.sources.packages import Packages
from transferkit.zoo.sources.side_by_side import SideBySide
from transferkit.zoo.sources.source import Source
from transferkit.zoo.sources.timm import Timm
from transferkit.zoo.sources.torchvision import Torchvision

SOURCES: tuple[Source, ...] = (
    ModelFolder(),
    Embedded(),
    Packages(),
    Torchvision(),
    HfHub(),
    Depths(),
    SideBySide(),
    Timm(),  # the last: it takes every name
)


def find(name: str) -> tuple[Source, str] | None:
    """The source of a name and what it is called there; None if no source takes it.

    >>> source, name = find("timm:resnet18")
    >>> type(source).__name__, name
    ('Timm', 'resnet18')
    """
    for source in SOURCES:
        if (own := source.find(name)) is not None:
            return source, own
    return None


def families() -> list[str]:
    """The families of networks that can be built again from a `Backbone.spec`."""
    return sorted(source.family for source in SOURCES if source.family)


def help_text() -> str:
    """How a backbone may be named, for the help of an option."""
    *others, last = (source.help for source in SOURCES if source.help)
    text = f"{', '.join(others)}, or {last}"
    return f"{text[0].upper()}{text[1:]}."
