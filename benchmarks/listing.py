"""100,000 images are listed, split and written to a manifest in less than 8 s.

python -m benchmarks.listing

A process of its own does it, interpreter and imports included, on generated images in 5 class folders. Their sizes and
hashes come with the first pass over the pixels and are not part of it.
"""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from benchmarks.harness import claim, measure, photos

COUNT = 100_000


def main() -> None:
    claim.measured(claim.options(__doc__), take)


def take(given: Namespace) -> dict[str, Any]:
    """The time of benchmarks/parts/listing.py."""
    count = 500 if given.quick else COUNT
    folder = photos.write_small(given.scratch / f"small-{count}", count)
    part = Path(__file__).parent / "parts" / "listing.py"
    arguments = [sys.executable, str(part), str(folder), f"{measure.FRESH}/manifest.csv"]
    command = measure.Command(name="listing", arguments=arguments, environment={"PYTHONPATH": str(measure.ROOT)})
    samples = measure.alternate([command], repeats=given.repeats)["listing"]
    steps = [
        claim.figure(step, measure.spread(samples, lambda sample, step=step: sample.result["seconds"][step]), unit="s")
        for step in samples[0].result["seconds"]
    ]
    whole, *rest = claim.used(f"{count:,} images", samples)
    goal = claim.figure(whole["what"], measure.spread(samples), unit="s", goal=claim.at_most(8))
    return {"data": f"{count:,} generated PNG images of 32 px", "figures": [goal, *steps, *rest]}


if __name__ == "__main__":
    main()
