"""What the parts of the lecture share: where the data is, and data sets of few photos."""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from slides.small import SmallCifar
from transferkit import seeds
from transferkit.data import folder
from transferkit.pretraining import cifar


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where the figures go and the data is, None for what was not given."""

    out: Path
    cifar: Path | None
    photos: Path | None
    backbone: str

    @cached_property
    def small(self) -> SmallCifar:
        """Some CIFAR images, read when first asked for."""
        return SmallCifar.draw(cifar.read(self.cifar))


def few(photos: Path, count: int | None, *, seed: int, scratch: Path) -> Path:
    """A data set in a CSV: `count` training images a class, None for all, and all test images of a folder."""
    listing = folder.read(photos)
    path = scratch / f"{photos.name}-{count or 'all'}-{seed}.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        for label, name in enumerate(listing.classes):
            rows = np.flatnonzero((listing.labels == label) & (listing.parts != "test"))
            chosen = seeds.generator(seed, "few", index=label).permutation(rows)[:count]
            tested = np.flatnonzero((listing.labels == label) & (listing.parts == "test"))
            writer.writerows((listing.paths[row], name, "") for row in chosen)
            writer.writerows((listing.paths[row], name, "test") for row in tested)
    return path
