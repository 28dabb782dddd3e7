"""The loader of a GPU's images is 1.3 times as fast as DataLoader with torchvision in its first epoch, 3 times later.

python -m benchmarks.loader

4,000 photos of 500 x 375, the default augmentation, two processes each; the first epoch includes the start of the
processes, decoding and, of ours, keeping what is decoded. Then the memory of all processes together for 50,000 images,
less what the system would give back at once: pages of files.
"""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from benchmarks.harness import claim, measure, photos
from benchmarks.harness.measure import FRESH, ROOT, Command, Sample

WORKERS, EPOCHS = 2, 3
WHOSE = ("ours", "torchvision")


def main() -> None:
    claim.measured(claim.options(__doc__, repeats=3), compare)


def compare(given: Namespace) -> dict[str, Any]:
    """Both loaders in turn, on photos and on many small images."""
    count, many = (130, 300) if given.quick else (4000, 50_000)
    folder = photos.write_photos(given.scratch / f"photos-{count}", train=count, val=10)
    samples = measure.alternate([loading(whose, folder) for whose in WHOSE], repeats=given.repeats)
    ours, theirs = (samples[whose] for whose in WHOSE)
    small = photos.write_small(given.scratch / f"small-{many}" / "train", many).parent
    memory = {whose: measure.run(loading(whose, small)).result["memory_mb"] for whose in WHOSE}
    figures = [
        claim.figure("first epoch, ours / torchvision", measure.ratio(ours, theirs, first), goal=claim.at_least(1.3)),
        claim.figure("later epochs, ours / torchvision", measure.ratio(ours, theirs, later), goal=claim.at_least(3)),
        *(claim.figure(f"{whose}, first", measure.spread(samples[whose], first), unit="images/s") for whose in WHOSE),
        *(claim.figure(f"{whose}, later", measure.spread(samples[whose], later), unit="images/s") for whose in WHOSE),
        claim.figure(
            "memory, ours / torchvision", memory["ours"][-1] / memory["torchvision"][-1], goal=claim.at_most(1.2)
        ),
        claim.figure("memory, last epoch / second, ours", memory["ours"][-1] / memory["ours"][1]),
        *(claim.figure(f"memory, {whose}", memory[whose][-1], unit="MB") for whose in WHOSE),
    ]
    return {"data": f"{count:,} generated photos of 500 x 375; {many:,} images of 32 px", "figures": figures}


def loading(whose: str, folder: Path) -> Command:
    """All epochs of a loader, with an empty cache."""
    script = ROOT / "benchmarks" / "parts" / "loading.py"
    arguments = [sys.executable, str(script), whose, str(folder), FRESH, "--workers", str(WORKERS)]
    return Command(name=whose, arguments=[*arguments, "--epochs", str(EPOCHS)])


def first(sample: Sample) -> float:
    """Images a second in the first epoch."""
    return sample.result["images"] / sample.result["seconds"][0]


def later(sample: Sample) -> float:
    """Images a second in the epochs after it."""
    seconds = sample.result["seconds"][1:]
    return sample.result["images"] * len(seconds) / sum(seconds)


if __name__ == "__main__":
    main()
