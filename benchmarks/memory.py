"""Training on 100,000 images stays below 1.5 GB, within 10 % of what it takes on 50,000.

python -m benchmarks.memory

One epoch of full fine-tuning, mobilenetv2_100 at 64 px, random weights, generated images, nothing cached. A quarter of
an hour on 2 cores.
"""

from argparse import Namespace
from typing import Any

from benchmarks.harness import claim, measure, photos
from benchmarks.harness.work import Work

COUNTS = (50_000, 100_000)
ONE_EPOCH = ("--strategy", "finetune", "--epochs", "1", "--batch-size", "32", "--augment", "light")


def main() -> None:
    claim.measured(claim.options(__doc__, repeats=1), grow)


def grow(given: Namespace) -> dict[str, Any]:
    """Both numbers of images in turn."""
    counts = (200, 400) if given.quick else COUNTS
    names = [f"{count:,} images" for count in counts]
    commands = [
        Work(
            folder=photos.write_small(given.scratch / f"small-{count}", count),
            architecture="test_resnet" if given.quick else "mobilenetv2_100",
        ).ours(name, *ONE_EPOCH, "--image-size", "64")
        for count, name in zip(counts, names)
    ]
    samples = measure.alternate(commands, repeats=given.repeats)
    half, whole = (samples[name] for name in names)
    peak = measure.spread(whole, peak_of)
    growth = measure.ratio(whole, half, peak_of)
    figures = [
        claim.figure(f"{names[1]}, peak", peak, unit="MB", goal=claim.at_most(1500)),
        claim.figure(f"peak, {names[1]} / {names[0]}", growth, goal=claim.at_most(1.1)),
        *claim.used(names[0], half),
        *claim.used(names[1], whole),
    ]
    return {"data": "generated PNG images of 32 px, mobilenetv2_100 at 64 px", "figures": figures}


def peak_of(sample: measure.Sample) -> float:
    """The largest resident size in MB."""
    return sample.peak_mb


if __name__ == "__main__":
    main()
