"""Pretrained backbones by name: create one, read its card, look for one, or wrap a network made elsewhere.

>>> from transferkit import zoo
>>> zoo.__all__
['cards', 'create', 'describe', 'search', 'suggest', 'wrap']
"""

import importlib

__all__ = ["cards", "create", "describe", "search", "suggest", "wrap"]


def __getattr__(name: str):
    """Import a public name when it is first used, so that the ground-floor modules stay cheap to import."""
    if name in __all__:
        return getattr(importlib.import_module("transferkit.zoo.catalog"), name)
    raise AttributeError(f"module 'transferkit.zoo' has no attribute {name!r}")
