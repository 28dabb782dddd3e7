"""Point it at a folder of photos; get the best classifier this machine can train, with proof.

>>> import transferkit as tk
>>> sorted(tk.__all__)
['__version__', 'ensemble', 'finetune', 'freeze', 'load', 'reset_head', 'zoo']
"""

import importlib

from transferkit import _checkout

_checkout.install()

__version__ = "0.1.0"
__all__ = ["__version__", "ensemble", "finetune", "freeze", "load", "reset_head", "zoo"]

_HOMES = {
    "ensemble": "transferkit.ship.ensemble:join",
    "finetune": "transferkit.flow:finetune",
    "freeze": "transferkit.model.freezer:freeze",
    "load": "transferkit.ship.classifier:load",
    "reset_head": "transferkit.model.head:reset_head",
}


def __getattr__(name: str):
    """Import a public name when it is first used, so that `import transferkit` costs nothing."""
    if name == "zoo":
        return importlib.import_module("transferkit.zoo")
    if name in _HOMES:
        module, _, attribute = _HOMES[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module 'transferkit' has no attribute {name!r}")
