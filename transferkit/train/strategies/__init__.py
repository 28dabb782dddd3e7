"""The ways from a pretrained network to a classifier, a file each. A new one is a file and a line of `TABLE`.

Nothing here imports torch before a strategy runs: the command line reads names and help lines from this table.
"""

from transferkit.option import dashed
from transferkit.options import Options
from transferkit.train.strategies.auto import Auto
from transferkit.train.strategies.base import Strategy
from transferkit.train.strategies.finetune import Finetune
from transferkit.train.strategies.lp_ft import LpFt
from transferkit.train.strategies.probe import HeadOnBatches, Probe
from transferkit.zoo.errors import UsageError

__all__ = ["EVERY", "LR_SEARCHES", "TABLE", "Strategy", "help_text", "named", "of"]

TABLE: tuple[Strategy, ...] = (Auto(), Probe(), Finetune(), LpFt())
EVERY = (*TABLE, HeadOnBatches())  # also what the options make of them
LR_SEARCHES = {strategy.lr_search: strategy for strategy in reversed(EVERY) if strategy.lr_search}


def named(name: str) -> Strategy:
    """The strategy of a name. Raises: UsageError for one that nobody knows."""
    for strategy in TABLE:
        if strategy.name == name:
            return strategy
    known = ", ".join(strategy.name for strategy in TABLE)
    raise UsageError(f"{dashed('strategy')} {name!r} is unknown; allowed: {known}")


def help_text() -> str:
    """What each of them does, for the help of an option."""
    return " ".join(f"{strategy.name}: {strategy.help}." for strategy in TABLE)


def of(options: Options) -> Strategy:
    """The strategy that the options come to, which has checked them. Raises: UsageError."""
    strategy = named(options.strategy).variant(options)
    strategy.check(options)
    return strategy
