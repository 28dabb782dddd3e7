"""What `transferkit audit` finds of flipped labels and planted shortcuts, and what it takes beyond the first pass.

python -m benchmarks.audit FOLDER... [--backbone NAME] [--seeds 3] [--cache DIR]

Each FOLDER holds train/CLASS and test/CLASS. 8 % of all labels are flipped, and it counts how many of these are among
the first 12 % of suspects. Into copies of the first two folders a shortcut is planted for the first half of the
classes: half the light, a black border, coarser JPEG, another camera; the folders as they are have none. One JSON line
each.
"""

import argparse
import csv
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from transferkit import inspection
from transferkit.audit import cues, shortcuts
from transferkit.audit import exif as tags
from transferkit.data import folder
from transferkit.data.listing import Listing
from transferkit.data.photos import Decoding, Photos
from transferkit.prepare import prepare
from transferkit.progress import Progress

FLIPPED, LOOKED_AT = 0.08, 0.12
IMAGES = 2000  # whose time is measured
QUALITY, COARSE = 90, 35
LIGHT = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--backbone", help="the default of finetune, if none is named")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", help="where features and photos are kept")
    given = parser.parse_args()
    options = {name: value for name in ("backbone", "cache") if (value := getattr(given, name))}
    options = {"cache_dir" if name == "cache" else name: value for name, value in options.items()}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        means = [flips(place, Path(scratch), given.seeds, options) for place in given.folders]
        print(json.dumps({"flips found, mean of folders": round(statistics.mean(means), 3)}))
        for place in given.folders:
            print(json.dumps({"folder": place.name, "planted": None, "named": named(place)}))
        for place in given.folders[:2]:
            for name, plant in PLANTS.items():
                copy = planted(place, Path(scratch) / f"{place.name} {name}", plant)
                print(json.dumps({"folder": place.name, "planted": name, "named": named(copy)}), flush=True)
        print(json.dumps(seconds(given.folders, Path(scratch), options)))


def flips(place: Path, scratch: Path, seeds: int, options: dict[str, Any]) -> float:
    """The share of flipped labels among the first suspects, mean of the seeds."""
    listing, found = folder.read(place, cache=scratch, progress=Progress()), []
    for seed in range(seeds):
        labels, flipped = flipped_labels(listing, seed)
        data = scratch / f"{place.name}-{seed}.csv"
        write(data, listing, labels)
        suspects = inspection.inspect(prepare(data, strategy="probe", **options), Progress()).suspects
        if suspects is None:
            raise SystemExit(f"{place} has too few images")
        first = suspects.rows[suspects.order[: round(LOOKED_AT * len(labels))]]
        suspected = suspects.rows[suspects.suspected]
        found.append(flipped[first].sum() / flipped.sum())
        line = {"found": round(found[-1], 3), "suspected": len(suspected), "right": int(flipped[suspected].sum())}
        print(json.dumps({"folder": place.name, "seed": seed, "flipped": int(flipped.sum())} | line), flush=True)
    return statistics.mean(found)


def flipped_labels(listing: Listing, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which some are another class, each as likely, and which these are."""
    random, labels = np.random.default_rng(seed), listing.labels.copy()
    rows = random.choice(len(labels), round(FLIPPED * len(labels)), replace=False)
    count = len(listing.classes)
    labels[rows] = (labels[rows] + random.integers(1, count, len(rows))) % count
    return labels, labels != listing.labels


def write(data: Path, listing: Listing, labels: np.ndarray) -> None:
    """The images with other labels, as a CSV."""
    with open(data, "w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("path", "label", "split"))
        lines.writerows(zip(map(str, listing.paths), (listing.classes[k] for k in labels), listing.parts))


def plain(photo: Image.Image, path: Path) -> None:
    photo.save(path, quality=QUALITY)


def dark(photo: Image.Image, path: Path) -> None:
    ImageEnhance.Brightness(photo).enhance(LIGHT).save(path, quality=QUALITY)


def framed(photo: Image.Image, path: Path) -> None:
    edge = max(2, min(photo.size) // 16)
    ImageOps.expand(ImageOps.crop(photo, edge), edge).save(path, quality=QUALITY)


def coarse(photo: Image.Image, path: Path) -> None:
    photo.save(path, quality=COARSE)


def by_camera(name: str) -> "Save":
    def save(photo: Image.Image, path: Path) -> None:
        exif = Image.Exif()
        exif[tags.MAKE], exif[tags.MODEL] = "Maker", name
        photo.save(path, quality=QUALITY, exif=exif)

    return save


Save = Callable[[Image.Image, Path], None]
PLANTS: dict[str, tuple[Save, Save]] = {  # of the first half of the classes, and of the others
    "brightness": (dark, plain),
    "border": (framed, plain),
    "file size": (coarse, plain),
    "camera": (by_camera("X1"), by_camera("Y2")),
}


def planted(place: Path, copy: Path, plant: tuple[Save, Save]) -> Path:
    """A copy of a folder with all photos encoded again."""
    classes = sorted({path.name for part in place.iterdir() for path in part.iterdir()})
    for path in sorted(place.rglob("*.jpg")):
        target = copy / path.relative_to(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        photo = Image.open(path).convert("RGB")
        plant[classes.index(path.parent.name) >= len(classes) // 2](photo, target)
    return copy


def named(place: Path) -> list[str]:
    """The cues that an audit of a folder names."""
    listing = folder.read(place, cache=place, progress=Progress())
    seen = cues.look(listing.paths, Photos(Decoding(384), workers=os.cpu_count() or 1), progress=Progress())
    sizes = [os.path.getsize(path) for path in listing.paths]
    return [each.cue for each in shortcuts.find(listing, seen, bytes=sizes, groups=None) if each.is_strong]


def seconds(places: list[Path], scratch: Path, options: dict[str, Any]) -> dict[str, Any]:
    """How long an audit takes once the first pass is kept, and its own parts, of photos of all folders together."""
    data, count = scratch / "many.csv", 0
    with open(data, "w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("path", "label"))
        for path in [path for place in places for path in sorted(place.rglob("*.jpg"))][:IMAGES]:
            lines.writerow((path, f"{path.parts[-4]} {path.parent.name}"))
            count += 1
    prepared = prepare(data, strategy="probe", **options)
    inspection.inspect(prepared, Progress())  # the first pass, and what it keeps
    started = time.perf_counter()
    found = inspection.inspect(prepare(data, strategy="probe", **options), Progress())
    whole = time.perf_counter() - started
    parts = {
        "look": lambda: cues.look(found.listing.paths, prepared.photos, progress=Progress()),
        "shortcuts": lambda: shortcuts.find(found.listing, found.cues, bytes=found.taken.bytes, groups=None),
    }
    timed = {}
    for name, work in parts.items():
        started = time.perf_counter()
        work()
        timed[name] = round(time.perf_counter() - started, 2)
    return {"images": count, "again, with all features and near copies kept, s": round(whole, 2), **timed}


if __name__ == "__main__":
    main()
