"""Point it at a folder of photos; get the best classifier this machine can train, with proof.

>>> import transferkit as tk
>>> [name for name in dir(tk) if name[0] != "_"]  # doctest: +NORMALIZE_WHITESPACE
['Classifier', 'FinetuneConfig', 'Prediction', 'Run', 'compare', 'ensemble', 'finetune', 'freeze', 'load',
 'reset_head', 'zoo']
"""

import importlib
from typing import TYPE_CHECKING, Any

from transferkit import _checkout

if TYPE_CHECKING:  # for type checkers and editors; at run time `__getattr__` imports each when it is first used
    import transferkit.zoo as zoo
    from transferkit.config import FinetuneConfig as FinetuneConfig
    from transferkit.flow import Run as Run
    from transferkit.flow import finetune as finetune
    from transferkit.model.freezer import freeze as freeze
    from transferkit.model.head import reset_head as reset_head
    from transferkit.ship.classifier import Classifier as Classifier
    from transferkit.ship.classifier import load as load
    from transferkit.ship.compare import compare as compare
    from transferkit.ship.ensemble import join as ensemble
    from transferkit.ship.prediction import Prediction as Prediction

_checkout.install()

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "FinetuneConfig",
    "Prediction",
    "Run",
    "__version__",
    "compare",
    "ensemble",
    "finetune",
    "freeze",
    "load",
    "reset_head",
    "zoo",
]

_HOMES = {
    "Classifier": "transferkit.ship.classifier:Classifier",
    "FinetuneConfig": "transferkit.config:FinetuneConfig",
    "Prediction": "transferkit.ship.prediction:Prediction",
    "Run": "transferkit.flow:Run",
    "compare": "transferkit.ship.compare:compare",
    "ensemble": "transferkit.ship.ensemble:join",
    "finetune": "transferkit.flow:finetune",
    "freeze": "transferkit.model.freezer:freeze",
    "load": "transferkit.ship.classifier:load",
    "reset_head": "transferkit.model.head:reset_head",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import transferkit` costs nothing."""
    if name != "zoo" and name not in _HOMES:
        raise AttributeError(f"module 'transferkit' has no attribute {name!r}")
    importlib.import_module("transferkit.cores").wait_asleep()  # these import torch
    if name == "zoo":
        return importlib.import_module("transferkit.zoo")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    """The public names, those not yet imported too."""
    return sorted(__all__)
