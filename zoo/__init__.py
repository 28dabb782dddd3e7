"""Pretrained backbones by name: create one, read its card, look for one, or wrap a network made elsewhere.

>>> from transferkit import zoo
>>> zoo.__all__
['cards', 'create', 'describe', 'search', 'suggest', 'wrap']
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors
    from transferkit.zoo.catalog import cards as cards
    from transferkit.zoo.catalog import create as create
    from transferkit.zoo.catalog import describe as describe
    from transferkit.zoo.catalog import search as search
    from transferkit.zoo.catalog import suggest as suggest
    from transferkit.zoo.catalog import wrap as wrap

__all__ = ["cards", "create", "describe", "search", "suggest", "wrap"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the ground-floor modules stay cheap to import."""
    if name in __all__:
        return getattr(importlib.import_module("transferkit.zoo.catalog"), name)
    raise AttributeError(f"module 'transferkit.zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, those not yet imported too."""
    return sorted(__all__)
