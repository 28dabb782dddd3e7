"""Beside a process that keeps one core busy, training goes 2 times as fast as with libgomp's own way to wait, or more.

python -m benchmarks.busy

Threads of OpenMP wait for each other awake, by default for so long that a core that somebody else wants is lost to
both. Fine-tuning and the first pass of a probe, whole commands in turn, as `runtime.share_cores` has them and with
libgomp's own number of rounds; alone on the machine neither should cost anything. Where torch computes by another
OpenMP than libgomp, as on macOS and Windows, both are the same.
"""

import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from benchmarks.harness import claim, measure
from benchmarks.harness.work import Work, generated

LIBGOMP = {"GOMP_SPINCOUNT": "300000"}  # what it does unless told otherwise
WORK = {  # by what is done: options, goal alone, goal beside a busy process
    "fine-tuning": (
        ("--strategy", "finetune", "--batch-size", "32", "--epochs", "1"),
        claim.at_least(0.95),
        claim.at_least(2.0),
    ),
    "probe": (("--strategy", "probe"), claim.at_least(0.95), claim.at_least(1.5)),
}


def main() -> None:
    claim.measured(claim.options(__doc__), compare)


def compare(given: Namespace) -> dict[str, Any]:
    """Both kinds of work, alone and beside a busy process: how many times as fast, and the seconds."""
    work = generated(given, "mobilenetv2_100", train=128, val=32)
    figures = []
    for what, (options, *goals) in WORK.items():
        for is_busy, goal in zip((False, True), goals):
            figures += compared(work, (what, *options), is_busy=is_busy, goal=goal, repeats=given.repeats)
    return {"data": work.about, "figures": figures}


def compared(work: Work, told: tuple[str, ...], *, is_busy: bool, goal: claim.Goal, repeats: int) -> list[dict]:
    """Figures of one kind of work, `told` its name and options."""
    what, *options = told
    where = "beside a busy process" if is_busy else "alone"
    ours = work.ours(f"{what} {where}", *options)
    theirs = replace(ours, name=f"{what} {where}, libgomp's rounds", environment={**ours.environment, **LIBGOMP})
    with busy() if is_busy else nullcontext():
        samples = measure.alternate([theirs, ours], repeats=repeats)
    gain = measure.ratio(samples[theirs.name], samples[ours.name])
    seconds = (claim.figure(name, measure.spread(found), unit="s") for name, found in samples.items())
    return [claim.figure(f"{what} {where}, times as fast", gain, goal=goal), *seconds]


@contextmanager
def busy() -> Iterator[None]:
    """A process that computes all the time, on one core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
