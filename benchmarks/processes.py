"""Two gloo processes of one thread train at 0.85 times the speed of one process of two threads, or faster.

python -m benchmarks.processes

Full fine-tuning of resnet18, random weights, batches of 32, whole commands in turn. Counted are the images trained on,
in the seconds of training and validation. At 128 px a step computes a third of what it does at 224 px and exchanges the
same 45 MB of gradients. That both train the same model is tested in tests/test_ranks.py.
"""

from argparse import Namespace
from dataclasses import replace
from typing import Any

from benchmarks.harness import claim, measure
from benchmarks.harness.training import FULL, our_training_rate
from benchmarks.harness.work import Work, generated

GOALS = {224: claim.at_least(0.85), 128: None}  # by side in px
CORES = 2


def main() -> None:
    claim.measured(claim.options(__doc__), compare)


def compare(given: Namespace) -> dict[str, Any]:
    """One process and two, at each size."""
    work = generated(given, "resnet18", train=256, val=64)
    figures = []
    for side, goal in GOALS.items():
        one, two = (command(work, processes, side) for processes in (1, CORES))
        samples = measure.alternate([one, two], repeats=given.repeats)
        speeds = {name: [our_training_rate(sample) for sample in found] for name, found in samples.items()}
        gain = measure.ratio_of(speeds[two.name], speeds[one.name])
        figures.append(claim.figure(f"{two.name} / {one.name}", gain, goal=goal))
        for name, found in samples.items():
            figures.append(claim.figure(name, measure.Spread.of(speeds[name]), unit="images/s"))
            figures += claim.used(name, found)
    return {"data": work.about, "figures": figures}


def command(work: Work, processes: int, side: int) -> measure.Command:
    """Full fine-tuning by so many processes, which divide the cores among them."""
    name = f"{side} px, {processes} process{'es' if processes > 1 else ''}"
    ours = work.ours(name, *FULL, "--image-size", str(side), "--processes", str(processes))
    threads = {"OMP_NUM_THREADS": str(CORES // processes)}
    return replace(ours, environment={**ours.environment, **threads})


if __name__ == "__main__":
    main()
