"""What views by torchvision, which makes them without albumentations, cost and give: speed, pixels, test accuracy.

python benchmarks/engines.py FOLDER... [--backbone NAME] [--strategy lp-ft] [--seeds 3] [--epochs N]

Each FOLDER holds train/CLASS and test/CLASS. One JSON line a folder and preset: views a second of 32 photos at 224 px
by each engine, on one thread, the median of rounds in turn; how far their mean views of 8 photos are apart, in levels
of 255, beside two means by albumentations. Then a line an engine: test accuracy with the default augmentation, mean
over seeds (none with --seeds 0). Near copies are looked for with OpenCV either way, so the images are divided alike.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

import transferkit as tk
from transferkit import runtime
from transferkit.augment_steps import ALBUMENTATIONS, TORCHVISION
from transferkit.data import augment, folder
from transferkit.data.augment import Augment
from transferkit.data.photos import Decoding
from transferkit.zoo.card import Preprocessing

ENGINES = (ALBUMENTATIONS, TORCHVISION)
PRESETS = ("light", "default", "strong")
TIMED, ROUNDS = 32, 5  # photos
LOOKED_AT, VIEWS = 8, 200  # photos, and views of each for a mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--strategy", default="lp-ft")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    given = parser.parse_args()
    machine = {"processor": runtime.processor(), "versions": runtime.versions()}
    options = {"backbone": given.backbone, "strategy": given.strategy, "augment": "default"}
    options |= {"epochs": given.epochs} if given.epochs else {}
    for place in given.folders:
        for preset in PRESETS:
            print(
                json.dumps({"folder": place.name, "augment": preset, **looked_at(place, preset), **machine}), flush=True
            )
        for engine in ENGINES if given.seeds else ():
            accuracies = [accuracy(place, engine, seed=seed, **options) for seed in range(given.seeds)]
            found = {"accuracy": round(statistics.mean(accuracies), 4), "accuracies": accuracies}
            print(json.dumps({"folder": place.name, "engine": engine, **options, **found, **machine}), flush=True)


@contextmanager
def made_by(engine: str) -> Iterator[None]:
    """In the block views are made by `engine`, by torchvision because albumentations cannot be imported."""
    module = sys.modules.get("albumentations")
    caches = augment._albumentations, augment.why_missing
    if engine == TORCHVISION:
        sys.modules["albumentations"] = None  # type: ignore - as Python has it for what is not to be imported
    for each in caches:
        each.cache_clear()
    try:
        yield
    finally:
        if engine == TORCHVISION:
            del sys.modules["albumentations"]
            if module:
                sys.modules["albumentations"] = module
        for each in caches:
            each.cache_clear()


def looked_at(place: Path, preset: str) -> dict[str, float]:
    """Speed of both engines, and how far their views are apart."""
    listing, preprocessing = folder.read(place), Preprocessing()
    paths = list(listing.paths)[:: max(len(listing.paths) // TIMED, 1)][:TIMED]
    photos = [np.asarray(Decoding.of(preprocessing).image(path)) for path in paths]
    made: dict[str, Augment] = {}
    for engine in ENGINES:
        with made_by(engine):
            made[engine] = augment.load(preset, preprocessing)
            made[engine](photos[0], seed=0)
    seconds = {engine: [] for engine in ENGINES}
    for turn in range(ROUNDS):
        for engine in ENGINES[:: 1 - 2 * (turn % 2)]:
            seconds[engine].append(timed(made[engine], photos))
    speeds = {engine: round(len(photos) / statistics.median(seconds[engine]), 1) for engine in ENGINES}
    apart, by_chance = [], []
    for first, photo in zip(range(0, 2 * VIEWS * LOOKED_AT, 2 * VIEWS), photos):  # each with seeds of its own
        usual = mean_view(made[ALBUMENTATIONS], photo, first=first)
        apart.append(np.abs(mean_view(made[TORCHVISION], photo, first=first) - usual).mean())
        by_chance.append(np.abs(mean_view(made[ALBUMENTATIONS], photo, first=first + VIEWS) - usual).mean())
    return {
        **{f"views/s, {engine}": speed for engine, speed in speeds.items()},
        "mean views apart": round(float(np.mean(apart)), 2),
        "by chance": round(float(np.mean(by_chance)), 2),
    }


def timed(view: Augment, photos: list[np.ndarray]) -> float:
    """Seconds for a view of each photo on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    started = time.perf_counter()
    for seed, photo in enumerate(photos):
        view(photo, seed=seed)
    seconds = time.perf_counter() - started
    torch.set_num_threads(threads)
    return seconds


def mean_view(view: Augment, photo: np.ndarray, *, first: int) -> np.ndarray:
    """The mean of `VIEWS` views, from that seed on; shape (H, W, 3)."""
    return np.mean([view(photo, seed=first + seed) for seed in range(VIEWS)], axis=0)


def accuracy(place: Path, engine: str, **options) -> float:
    """The test accuracy of a run."""
    with made_by(engine), tempfile.TemporaryDirectory() as scratch:
        run = tk.finetune(place, out=f"{scratch}/run", **options)
        assert json.loads((run.folder / "run.json").read_text())["engine"] == engine
        return round(run.metrics["test"]["accuracy"], 4)


if __name__ == "__main__":
    main()
