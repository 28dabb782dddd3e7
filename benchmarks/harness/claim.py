"""A script's options, and the one line that it prints."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import machine
from benchmarks.harness.measure import CommandError, Sample, Spread, spread


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a figure should reach."""

    sign: str  # ">=" or "<="
    bound: float

    def is_met(self, value: float) -> bool:
        """Whether `value` reaches it."""
        return value >= self.bound if self.sign == ">=" else value <= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"


def at_least(bound: float) -> Goal:
    """Reached from `bound` upwards."""
    return Goal(sign=">=", bound=bound)


def at_most(bound: float) -> Goal:
    """Reached up to `bound`."""
    return Goal(sign="<=", bound=bound)


def figure(what: str, value: float | Spread, *, unit: str = "", goal: Goal | None = None) -> dict[str, Any]:
    """A measured value for the line, its spread, its goal, and whether it was reached."""
    told = value if isinstance(value, Spread) else Spread(median=value, low=value, high=value)
    found = {"what": what, "value": _digits(told.median), "unit": unit}
    if told.low != told.high:
        found |= {"low": _digits(told.low), "high": _digits(told.high)}
    return found | ({"goal": str(goal), "met": goal.is_met(told.median)} if goal else {})


def used(name: str, samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Seconds, CPU seconds and peak memory of a command, as figures."""
    return [
        figure(f"{name}, whole process", spread(samples), unit="s"),
        figure(f"{name}, CPU", spread(samples, lambda sample: sample.cpu_seconds), unit="s"),
        figure(f"{name}, peak of its largest process", spread(samples, lambda sample: sample.peak_mb), unit="MB"),
    ]


def options(doc: str, *, repeats: int = 3) -> argparse.ArgumentParser:
    """A parser with the options that every script takes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", type=Path, metavar="DIR", help="holds real image folders, each train/ and test/")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="a timm model folder: mobilenetv2_100, ImageNet")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="for generated images  [default: removed after]")
    parser.add_argument("--repeats", type=int, default=repeats, metavar="R", help=f"[default: {repeats}]")
    parser.add_argument("--quick", action="store_true", help="a small size, once: shows that it runs, measures nothing")
    return parser


def measured(parser: argparse.ArgumentParser, measure: Callable[[argparse.Namespace], dict[str, Any]]) -> None:
    """Print the line that `measure` makes of the options given: its fields, the machine, the date."""
    given = parser.parse_args()
    name = Path(sys.argv[0]).stem
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        given.scratch = (given.scratch or Path(scratch)).resolve()
        given.scratch.mkdir(parents=True, exist_ok=True)
        for path in ("folders", "weights"):
            setattr(given, path, getattr(given, path) and getattr(given, path).resolve())
        given.repeats = 1 if given.quick else given.repeats
        try:
            line = measure(given)
        except CommandError as error:
            sys.exit(f"error: {error}")
    date = time.strftime("%Y-%m-%d", time.gmtime())
    about = {"repeats": given.repeats, "quick": given.quick, "date": date, "machine": machine.describe()}
    print(json.dumps({"benchmark": name} | line | about), flush=True)


def skipped(reason: str) -> dict[str, Any]:
    """The line of a script that cannot measure here."""
    return {"skipped": reason}


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
