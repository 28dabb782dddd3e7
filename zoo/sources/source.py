"""What a source of backbones is: a line in the table of sources answers to it."""

from pathlib import Path
from typing import Any, Protocol

from transferkit.zoo.blueprint import Blueprint
from transferkit.zoo.card import ModelCard


class Source(Protocol):
    """Where networks come from. One that says so (`class Mine(Source)`) has to give help, `find` and `open`.

    Heavy libraries are imported by `open`, `names` and `by_spec` alone, when they are called.
    """

    help: str  # how its names are written, for the help of a command; none where another source's says it too
    family: str = ""  # in the specs of the networks that `by_spec` builds again; none if another source does
    is_foreign: bool = False  # whether strangers wrote the configurations: files are compared before they are believed
    takes_paths: bool = False  # whether its names are paths: one that is wrong has no names like it
    libraries: tuple[str, ...] = ()  # on whose versions `names` depends; where there are any, names are kept in a file
    travels: tuple[str, ...] = ()  # the names of networks whose `card` is in the package, and mostly their weights

    def find(self, name: str) -> str | None:
        """The name as `names` lists it, if it is one of this source's, known there or not; else None."""
        ...

    def open(self, name: str, *, offline: bool) -> Blueprint:
        """What was found, before it is built. Raises: UsageError for an unknown name, ModelFileError, NetworkError."""
        ...

    def names(self) -> list[str]:
        """What can be searched and is suggested for names that nobody knows."""
        return []

    def cached(self) -> list[str]:
        """Those of `names` whose weights are in the cache of a hub."""
        return []

    def files(self, name: str) -> list[Path]:
        """The files on this machine that, beside its weights, decide what `open` makes of a name."""
        return []

    def by_spec(self, spec: dict[str, Any]) -> Blueprint | None:
        """The network of a `Backbone.spec` of its family; None or UsageError if there is no such."""
        return None

    def card(self, name: str) -> ModelCard:
        """The card of one that `travels`. Raises: LookupError for any other."""
        raise LookupError(name)

    def lacks(self, name: str) -> str:
        """What brings the weights of one that `travels`, where they are not here; else nothing."""
        return ""


def prefix(name: str) -> str:
    """What stands before the colon of a name, or all of it.

    >>> prefix("torchvision:resnet18")
    'torchvision'
    """
    return name.partition(":")[0]


def is_path(name: str) -> bool:
    """Whether somebody who writes this means a folder, unless it is a source's whose names have separators."""
    return name.startswith((".", "~")) or any(sign in name for sign in "/\\")
