"""What the store of decoded photos saves: one JSON line with milliseconds a photo of the first and the second pass.

python benchmarks/store.py [--photos 24]

Makes photos of 12 megapixels, as phones take them, in a temporary folder, and takes them in as `transferkit finetune`
does, twice, each time in a process of its own: "first" with an empty cache, "second" with what that left in it; both
include the view that a network sees. Beside them, "whole" is Pillow decoding the photos whole, as a loader without a
store does in every epoch, and "kept" is reading alone out of the store.
"""

import argparse
import functools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from transferkit import runtime
from transferkit.caches import photos_of
from transferkit.config import FinetuneConfig
from transferkit.data import folder
from transferkit.model import build
from transferkit.progress import Progress
from transferkit.train import intake

SIZE = 4032, 3024
SETTLED_SECONDS = 4  # files changed more lately than that are not taken for known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "FOLDER", "CACHE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(measure(*given.measure))
        return
    with tempfile.TemporaryDirectory() as scratch:
        data, cache = Path(scratch) / "photos", Path(scratch) / "cache"
        for number in range(given.photos):
            path = data / "ab"[number % 2] / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            photo(number).save(path, quality=90)
        file_bytes = sum(path.stat().st_size for path in data.rglob("*.jpg"))
        time.sleep(SETTLED_SECONDS)
        passes = {"first": "take-in", "whole": "decode", "second": "take-in", "kept": "read"}
        seconds = {name: in_own_process(what, data, cache) for name, what in passes.items()}
        kept_bytes = sum(path.stat().st_size for path in (cache / "pixels").rglob("*") if path.is_file())
    line = {
        "photos": given.photos,
        "size": SIZE,
        "file_bytes": file_bytes,
        "kept_bytes": kept_bytes,
        "ms_per_photo": {name: round(1000 * value / given.photos, 2) for name, value in seconds.items()},
        "second_over_first": round(seconds["second"] / seconds["first"], 4),
        "kept_over_first": round(seconds["kept"] / seconds["first"], 4),
    }
    machine = {"cores": os.cpu_count(), "processor": runtime.processor(), "machine": platform.machine()}
    print(json.dumps(line | machine | {"versions": runtime.versions()}))


def photo(seed: int) -> Image.Image:
    """Patches and texture at every scale and the noise of a sensor: about 3 MB as a JPEG file."""
    draw = np.random.default_rng(seed)
    image = np.roll(scene(), draw.integers(0, 3000, 2), axis=(0, 1))
    image += draw.normal(0, 4, image.shape[:2]).astype(np.float32)[..., None]
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


@functools.cache
def scene() -> np.ndarray:
    draw = np.random.default_rng(0)
    image = np.full((SIZE[1], SIZE[0], 3), 128, np.float32)
    for octave in range(3, 11):
        cells = draw.normal(0, 60 / 1.55 ** (octave - 3), (3, 3 * 2**octave // 4, 2**octave)).astype(np.float32)
        for channel, grid in enumerate(0.3 * cells + cells.mean(0)):
            image[:, :, channel] += np.asarray(Image.fromarray(grid).resize(SIZE, Image.Resampling.BICUBIC))
    return image


def in_own_process(what: str, data: Path, cache: Path) -> float:
    command = [sys.executable, __file__, "--measure", what, str(data), str(cache)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure(what: str, data: str, cache: str) -> float:
    """The seconds that all photos take."""
    listing = folder.read(Path(data))
    model, _ = build.open_backbone("cifar_resnet", weights=None, image_size=None, offline=True, device="cpu")
    photos = photos_of(FinetuneConfig(data=data, cache_dir=cache), model, Progress())
    started = time.perf_counter()
    if what == "take-in":
        preprocessing = model.card.preprocessing
        reader = intake.Reader(photos=photos, preprocessing=preprocessing, device="cpu", extractor=None)
        intake.read_images(listing, reader, progress=Progress())
    for path in listing.paths if what == "read" else ():
        photos.read(path)
    for path in listing.paths if what == "decode" else ():
        Image.open(path).convert("RGB")
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
