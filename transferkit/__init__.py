"""Point it at a folder of photos; get the best classifier this machine can train, with proof.

>>> import transferkit as tk
>>> sorted(tk.__all__)
['__version__', 'finetune', 'freeze', 'load', 'reset_head', 'zoo']
"""

import importlib

from transferkit import _checkout

_checkout.install()

__version__ = "0.1.0"
__all__ = ["__version__", "finetune", "freeze", "load", "reset_head", "zoo"]

_HOMES = {
    "finetune": "transferkit.flow",
    "freeze": "transferkit.model.freezer",
    "load": "transferkit.ship.classifier",
    "reset_head": "transferkit.model.head",
}


def __getattr__(name: str):
    """Import a public name when it is first used, so that `import transferkit` costs nothing."""
    if name == "zoo":
        return importlib.import_module("transferkit.zoo")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'transferkit' has no attribute {name!r}")
