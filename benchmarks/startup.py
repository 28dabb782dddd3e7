"""`transferkit --help` takes less than 0.25 s, `zoo list` less than 1 s; a first batch comes as soon as torch and timm.

python -m benchmarks.startup [--weights DIR]

Whole processes; the first batch (reading, decoding and the network's pass over 32 photos included) within 1.25 times
of `python -c 'import torch, timm'` run in turn. The system's cache of files is warm.
"""

import re
import sys
from argparse import Namespace
from dataclasses import replace
from typing import Any

from benchmarks.harness import claim, measure
from benchmarks.harness.measure import Command
from benchmarks.harness.work import OURS, generated

IMPORTS_TORCH = re.compile(r"\| *torch$", re.MULTILINE)  # in the list of -X importtime


def main() -> None:
    claim.measured(claim.options(__doc__, repeats=7), compare)


def compare(given: Namespace) -> dict[str, Any]:
    """All four commands in turn."""
    listing = [sys.executable, "-X", "importtime", *OURS[1:], "zoo", "list"]
    has_torch = bool(IMPORTS_TORCH.search(measure.run(Command(name="imports of zoo list", arguments=listing)).errors))
    commands = [
        Command(name="--help", arguments=[*OURS, "--help"]),
        Command(name="zoo list", arguments=[*OURS, "zoo", "list"]),
        Command(name="import torch, timm", arguments=[sys.executable, "-c", "import torch, timm"]),
        first_batch(given),
    ]
    samples = measure.alternate(commands, repeats=given.repeats)
    gap = measure.ratio(samples["first batch"], samples["import torch, timm"])
    figures = [
        claim.figure("--help", measure.spread(samples["--help"]), unit="s", goal=claim.at_most(0.25)),
        claim.figure("zoo list", measure.spread(samples["zoo list"]), unit="s", goal=claim.at_most(1)),
        claim.figure("zoo list imports torch (1: yes)", float(has_torch), goal=claim.at_most(0)),
        claim.figure("first batch of a probe / import torch, timm", gap, goal=claim.at_most(1.25)),
    ]
    for name in ("import torch, timm", "first batch"):
        figures += claim.used(name, samples[name])
    return {"figures": figures}


def first_batch(given: Namespace) -> Command:
    """A probe that ends itself after its first batch."""
    work = generated(given, "mobilenetv2_100", train=320, val=80)
    if given.weights and not given.quick:
        work = replace(work, weights=given.weights)
    probe = work.ours("first batch", "--strategy", "probe")
    arguments = [sys.executable, "-m", "benchmarks.parts.first_batch", *probe.arguments[len(OURS) :]]
    return replace(probe, arguments=arguments)


if __name__ == "__main__":
    main()
