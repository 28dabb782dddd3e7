"""Seconds in which all photos of a folder are taken in as `transferkit finetune` does; one JSON line.

python benchmarks/parts/taking_in.py take-in|read|decode FOLDER CACHE

`take-in` checks, decodes, shrinks and keeps each photo, or finds it kept, as before fine-tuning resnet18; `read` reads
what is kept alone; `decode` is Pillow decoding each photo whole, as a loader without a store does in every epoch.
"""

import argparse
import json
import time
from pathlib import Path

from PIL import Image

from transferkit.caches import photos_of
from transferkit.config import FinetuneConfig
from transferkit.data import folder
from transferkit.model import build
from transferkit.progress import Progress
from transferkit.train import first_pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("take-in", "read", "decode"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("cache", type=Path)
    given = parser.parse_args()
    listing = folder.read(given.folder)
    model = build.create("timm:resnet18", weights="none", offline=True)
    photos = photos_of(
        FinetuneConfig(data=str(given.folder), cache_dir=str(given.cache)), model, Progress(), device="cpu"
    )
    started = time.perf_counter()
    if given.what == "take-in":
        preprocessing = model.card.preprocessing
        reader = first_pass.Reader(photos=photos, preprocessing=preprocessing, device="cpu", extractor=None)
        first_pass.read_images(listing, reader, progress=Progress())
    for path in listing.paths if given.what == "read" else ():
        photos.read(path)
    for path in listing.paths if given.what == "decode" else ():
        Image.open(path).convert("RGB")
    seconds = time.perf_counter() - started
    print(json.dumps({"photos": len(listing.paths), "seconds": seconds}))


if __name__ == "__main__":
    main()
