"""On the second run, decoding 2,000 photos of 12 megapixels takes less than 5 % of what it took on the first.

python -m benchmarks.store

Photos as phones take them, about 3 MB each: a few are drawn, and repeated with another comment inside, which makes them
other files to the store. They take 6 GB of disk. The first pass starts with an empty cache, the second with what that
left, each in a process of its own, as before fine-tuning: every photo is checked, decoded or found. Beside them what
reading the store alone takes, and what Pillow takes to decode photos whole, on the drawn ones.
"""

import functools
import json
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harness import claim, measure
from benchmarks.harness.measure import ROOT, Command, Sample

PHOTOS, DRAWN = 2000, 20
SIZE = 4032, 3024
SETTLED_SECONDS = 4  # files changed more lately than that are not taken for known


def main() -> None:
    claim.measured(claim.options(__doc__, repeats=1), compare)


def compare(given: Namespace) -> dict[str, Any]:
    """The passes, in the order in which they depend on one another."""
    photos, drawn = (4, 2) if given.quick else (PHOTOS, DRAWN)
    folder = write_photos(given.scratch / f"phone-{photos}", photos=photos, drawn=drawn)
    some = write_photos(given.scratch / f"phone-{drawn}", photos=drawn, drawn=drawn)
    rounds = [passes(folder, some, given.scratch / f"store-{turn}") for turn in range(given.repeats)]
    each = {name: [milliseconds(samples[name]) for samples in rounds] for name in rounds[0]}
    first = each["first"]
    figures = [
        claim.figure("reading the store / first pass", measure.ratio_of(each["read"], first), goal=claim.at_most(0.05)),
        claim.figure("second pass, all that it checks / first pass", measure.ratio_of(each["second"], first)),
        *(claim.figure(f"{name}, a photo", measure.Spread.of(found), unit="ms") for name, found in each.items()),
    ]
    size = sum(path.stat().st_size for path in folder.rglob("*.jpg")) / photos / 1e6
    return {"data": f"{photos:,} generated photos of 12 megapixels, {size:.1f} MB each", "figures": figures}


def passes(folder: Path, some: Path, cache: Path) -> dict[str, Sample]:
    """Both passes over all photos, then the store and Pillow alone on some of them."""
    found = {"first": measure.run(taking_in("take-in", folder, cache))}
    found["second"] = measure.run(taking_in("take-in", folder, cache))
    found["read"] = measure.run(taking_in("read", folder, cache))
    found["decoded whole"] = measure.run(taking_in("decode", some, cache))
    return found


def taking_in(what: str, folder: Path, cache: Path) -> Command:
    """One pass, in a process of its own."""
    script = ROOT / "benchmarks" / "parts" / "taking_in.py"
    return Command(name=what, arguments=[sys.executable, str(script), what, str(folder), str(cache)])


def milliseconds(sample: Sample) -> float:
    """Of one photo."""
    return 1000 * sample.result["seconds"] / sample.result["photos"]


def write_photos(folder: Path, *, photos: int, drawn: int) -> Path:
    """`photos` JPEG files in two class folders, of which `drawn` are drawn, unless they are there already; `folder`."""
    if (folder / "complete.json").is_file():
        return folder
    for label in "ab":
        (folder / label).mkdir(parents=True, exist_ok=True)
    for seed in range(drawn):
        path = folder / "drawn.part"
        photo(seed).save(path, "JPEG", quality=90)
        data = path.read_bytes()
        for number in range(seed, photos, drawn):
            comment = f"{number:06d}".encode()
            segment = b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment
            (folder / "ab"[number % 2] / f"{number:06d}.jpg").write_bytes(data[:2] + segment + data[2:])
        path.unlink()
    time.sleep(SETTLED_SECONDS)
    (folder / "complete.json").write_text(json.dumps(photos))
    return folder


def photo(seed: int) -> Image.Image:
    """Patches and texture at every scale and the noise of a sensor: about 3 MB as a JPEG file."""
    draw = np.random.default_rng(seed)
    image = np.roll(scene(), draw.integers(0, 3000, 2), axis=(0, 1))
    image += draw.normal(0, 4, image.shape[:2]).astype(np.float32)[..., None]
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


@functools.cache
def scene() -> np.ndarray:
    """What all photos show, from other places."""
    draw = np.random.default_rng(0)
    image = np.full((SIZE[1], SIZE[0], 3), 128, np.float32)
    for octave in range(3, 11):
        cells = draw.normal(0, 60 / 1.55 ** (octave - 3), (3, 3 * 2**octave // 4, 2**octave)).astype(np.float32)
        for channel, grid in enumerate(0.3 * cells + cells.mean(0)):
            image[:, :, channel] += np.asarray(Image.fromarray(grid).resize(SIZE, Image.Resampling.BICUBIC))
    return image


if __name__ == "__main__":
    main()
