"""What a probe costs at 64, 128, 224 and 320 px.

python -m benchmarks.sizes [--weights DIR]

96 + 32 generated photos of 500 x 375 px, mobilenetv2_100, nothing cached: the whole process, and its pass over the
photos.
"""

from argparse import Namespace
from dataclasses import replace
from typing import Any

from benchmarks.harness import claim, measure
from benchmarks.harness.work import generated, phases

SIZES_PX = (64, 128, 224, 320)


def main() -> None:
    claim.measured(claim.options(__doc__, repeats=2), grow)


def grow(given: Namespace) -> dict[str, Any]:
    """Each size in turn."""
    work = generated(given, "mobilenetv2_100", train=96, val=32)
    if given.weights and not given.quick:
        about = work.about.replace("random", "ImageNet")
        work = replace(work, weights=given.weights, about=about)
    sizes = SIZES_PX[:2] if given.quick else SIZES_PX
    commands = [work.ours(f"{size} px", "--strategy", "probe", "--image-size", str(size)) for size in sizes]
    samples = measure.alternate(commands, repeats=given.repeats)
    figures = []
    for name, found in samples.items():
        each = measure.spread(found, milliseconds_an_image)
        figures.append(claim.figure(f"{name}, an image of the pass over the photos", each, unit="ms"))
        figures += claim.used(name, found)
    return {"data": work.about, "figures": figures}


def milliseconds_an_image(sample: measure.Sample) -> float:
    """Of the first phase: reading, decoding, features."""
    _, images, seconds = phases(sample)[0]
    return 1000 * seconds / images


if __name__ == "__main__":
    main()
