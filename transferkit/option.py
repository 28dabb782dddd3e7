"""How an option is declared: its help, group, default and what it may be, beside the name and kind of a field."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from transferkit.zoo.errors import UsageError

DATA, NETWORK, TRAINING = "data", "network", "training"
REGULARISATION, MACHINE, RUN = "regularisation", "machine", "run"
GROUPS = (DATA, NETWORK, TRAINING, REGULARISATION, MACHINE, RUN)
BATCHES, STAGES = "fits_on_batches", "trains_network"  # what a strategy must do to use an option


@dataclass(frozen=True, kw_only=True)
class Option:
    """What is declared of an option beside its name and kind.

    Fields: help; rule, of the default in words, where it is worked out; choices, or low and high, the values allowed,
    and why; metavar, how its value is called, if it is free text;
    short, a letter for it; needs, the property that a strategy must have to use
    it, "" for all.
    """

    group: str
    help: str
    rule: str = ""
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    why: str = ""
    metavar: str | None = None
    short: str = ""
    needs: str = ""

    def check(self, name: str, value: Any) -> None:
        """Refuse a value that is not allowed. Raises: UsageError naming the option, the value and what is."""
        if value is None:
            return
        if self.choices and value not in self.choices:
            raise UsageError(f"{dashed(name)} {value!r} is unknown; allowed: {', '.join(self.choices)}")
        if self.low is not None and not self.low <= value <= self.high:
            reason = f"; {self.why}" if self.why else ""
            raise UsageError(f"{dashed(name)} {value} is out of range; allowed: {self.low} to {self.high}{reason}")


def option(default: Any, group: str, help: str, **about: Any) -> Any:
    """A field of `Options`; the arguments are those of `Option`."""
    return dataclasses.field(default=default, metadata={"option": Option(group=group, help=help, **about)})


def dashed(name: str) -> str:
    """An option as it is written on the command line."""
    return f"--{name.replace('_', '-')}"
