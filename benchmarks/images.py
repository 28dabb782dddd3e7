"""What a probe costs as the number of images grows from 100 to 10,000; to 100,000 with --largest.

python -m benchmarks.images [--largest]

Generated images of 32 px, cifar_resnet, nothing cached: seconds and memory of the whole process.
"""

from argparse import Namespace
from typing import Any

from benchmarks.harness import claim, measure, photos
from benchmarks.harness.work import Work

COUNTS = [100, 1_000, 10_000]


def main() -> None:
    parser = claim.options(__doc__, repeats=2)
    parser.add_argument("--largest", action="store_true", help="also 100,000 images: minutes more")
    claim.measured(parser, grow)


def grow(given: Namespace) -> dict[str, Any]:
    """Each number of images in turn."""
    counts = [60, 120] if given.quick else COUNTS + [100_000] * given.largest
    commands = {count: probe(given, count) for count in counts}
    samples = measure.alternate(list(commands.values()), repeats=given.repeats)
    figures = []
    for count in counts:
        figures += claim.used(f"{count:,} images", samples[commands[count].name])
    few, many = (samples[commands[count].name] for count in counts[-2:])
    more = measure.spread(many).median - measure.spread(few).median
    each = 1000 * more / (counts[-1] - counts[-2])
    figures.append(claim.figure(f"each image more, from {counts[-2]:,} to {counts[-1]:,}", each, unit="ms"))
    return {"data": "generated PNG images of 32 px in 5 classes, cifar_resnet", "figures": figures}


def probe(given: Namespace, count: int) -> measure.Command:
    """A probe of cifar_resnet at its own 32 px."""
    folder = photos.write_small(given.scratch / f"small-{count}", count)
    work = Work(folder=folder, architecture="cifar_resnet", is_embedded=True)
    return work.ours(f"{count:,} images", "--strategy", "probe")


if __name__ == "__main__":
    main()
