"""Whole processes, from start to exit, run in turn: seconds, CPU seconds and peak memory, medians and ratios."""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FRESH = "{fresh}"  # in an argument or a variable: the path of a folder that is new and empty for each run
LONGEST_SECONDS = 3600  # no run here takes as long: one that does hangs


class CommandError(Exception):
    """A measured command failed or hung; the message has its last lines."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A program to measure; it runs in the checkout, with `environment` added to ours."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One run of a command. `peak_mb` is the largest resident size of any one of its processes."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str
    errors: str

    @property
    def result(self) -> dict[str, Any]:
        """The JSON object in the last line that the command printed."""
        return json.loads(self.output.strip().splitlines()[-1])


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A median and the lowest and highest value beside it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """The spread of one or more values."""
        values = list(values)
        return cls(median=statistics.median(values), low=min(values), high=max(values))


def alternate(commands: Sequence[Command], *, repeats: int) -> dict[str, list[Sample]]:
    """The samples of each command by its name; every other round goes backwards, so that a drift favours none.

    Raises: CommandError at the first run that fails.
    """
    samples = {command.name: [] for command in commands}
    for turn in range(repeats):
        for command in reversed(commands) if turn % 2 else commands:
            sample = run(command)
            samples[command.name].append(sample)
            print(f"{command.name}: {sample.seconds:.2f} s, {sample.peak_mb:.0f} MB", file=sys.stderr, flush=True)
    return samples


def run(command: Command) -> Sample:
    """Run `command` once, with a fresh folder that is removed afterwards.

    Raises: CommandError if it ends with another code than 0, or does not end.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        fresh, file = Path(scratch) / "fresh", Path(scratch) / "spent.json"
        fresh.mkdir()
        arguments = [argument.replace(FRESH, str(fresh)) for argument in command.arguments]
        added = {name: value.replace(FRESH, str(fresh)) for name, value in command.environment.items()}
        process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("timed.py")), str(file), *arguments],
            cwd=ROOT,
            env=os.environ | added,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that its children end with it
        )
        output, errors = _finish(process, command.name)
        spent = json.loads(file.read_text()) if file.is_file() else {"exit_code": process.returncode}
    if spent.pop("exit_code") or process.returncode:
        raise CommandError(f"{command.name} failed: {' / '.join((errors or output).strip().splitlines()[-3:])}")
    return Sample(**spent, output=output, errors=errors)


def _finish(process: subprocess.Popen, name: str) -> tuple[str, str]:
    try:
        return process.communicate(timeout=LONGEST_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{name} did not end within {LONGEST_SECONDS} s") from error
    finally:
        if process.poll() is None:  # it hangs, or we were interrupted
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def seconds(sample: Sample) -> float:
    """From start to exit."""
    return sample.seconds


def spread(samples: Sequence[Sample], value: Callable[[Sample], float] = seconds) -> Spread:
    """The spread of a value of the samples."""
    return Spread.of(value(sample) for sample in samples)


def ratio(over: Sequence[Sample], under: Sequence[Sample], value: Callable[[Sample], float] = seconds) -> Spread:
    """The ratio of the medians of a value; low and high are those of the ratios of runs of the same round."""
    return ratio_of([value(sample) for sample in over], [value(sample) for sample in under])


def ratio_of(over: Sequence[float], under: Sequence[float]) -> Spread:
    """The same of the values themselves, one a round."""
    rounds = [top / bottom for top, bottom in zip(over, under, strict=True)]
    return Spread(median=Spread.of(over).median / Spread.of(under).median, low=min(rounds), high=max(rounds))
