"""The photos on which an export is compared, read when they are needed: cameras make them large."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from transferkit.data import folder
from transferkit.data.decode import decode, eval_view
from transferkit.data.manifest import run_of
from transferkit.data.photos import Decoding
from transferkit.data.source import DecodeError
from transferkit.model.build import Preprocessing
from transferkit.ship.sources import Source, content_of, every_photo
from transferkit.zoo.errors import UsageError

NOISE_SIDES_PX = ((300, 400), (500, 333), (64, 48), (257, 256))
CALIBRATION_IMAGES = 200


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Photos to compare answers on. Fields: bit_depth, as for `load`; is_noise, if nobody named any."""

    sources: Sequence[Source]
    bit_depth: int | None = None
    is_noise: bool = False

    @classmethod
    def of(cls, images: Iterable[Source] | Source, *, bit_depth: int | None = None) -> "Sample":
        """The photos of what `Classifier.predict` takes; coarse noise of a few sizes where there are none."""
        sources = list(every_photo(images))
        if sources:
            return cls(sources=sources, bit_depth=bit_depth)
        coarse = np.random.default_rng(0).integers(0, 256, (2 * len(NOISE_SIDES_PX), 8, 8, 3), np.uint8)
        sides = 2 * NOISE_SIDES_PX
        noise = [one.repeat(-(-h // 8), 0).repeat(-(-w // 8), 1)[:h, :w] for one, (h, w) in zip(coarse, sides)]
        return cls(sources=noise, is_noise=True)

    def __len__(self) -> int:
        return len(self.sources)

    def photo(self, number: int) -> np.ndarray:
        """All pixels of a photo, upright, RGB. Shapes: uint8 (H, W, 3). Raises: DecodeError that names it."""
        source = self.sources[number]
        try:
            return np.asarray(decode(content_of(source), bit_depth=self.bit_depth))
        except DecodeError as error:
            name = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else f"image {number}"
            raise DecodeError(f"{name}: {error}") from error

    def views(self, preprocessing: Preprocessing) -> Tensor:
        """What a network sees of them. Shapes: uint8 (N, 3, h, w). Raises: DecodeError."""
        decoding = Decoding.of(preprocessing, bit_depth=self.bit_depth)
        pixels = [eval_view(decoding.image(self.photo(n)), preprocessing) for n in range(len(self))]
        return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)

    @property
    def words(self) -> str:
        """What they are."""
        return "noise, as no photos were named with --images" if self.is_noise else f"{len(self)} photos"


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """The photos of a run: some that it was trained on, and all that judged it, with their labels (N, ...)."""

    train: Sample
    judged: Sample
    labels: np.ndarray

    @classmethod
    def of_run(cls, run: Path | None, *, bit_depth: int | None = None) -> "Labelled":
        """The photos that the manifest of a run, or of the run of a model folder, names.

        Raises: UsageError if they are not there any more, DataError.
        """
        listed = None if run is None else run_of(run) / "manifest.csv"
        if listed is None or not listed.exists():
            raise UsageError(f"--int8 is calibrated on the photos of a run, and {run or 'this classifier'} is of none")
        listing = folder.read(listed, to_train=False)
        is_here = np.array([os.path.isfile(path) for path in listing.paths])
        judged = [row for row in listing.part(None)[1] if is_here[row]]
        train = np.flatnonzero(is_here & (listing.parts == "train"))
        if not judged or not len(train):
            raise UsageError(f"--int8 is calibrated on the photos of a run, and those of {run} are gone")
        some = np.random.default_rng(0).permutation(train)[:CALIBRATION_IMAGES]
        return cls(
            train=Sample(sources=[listing.paths[row] for row in some], bit_depth=bit_depth),
            judged=Sample(sources=[listing.paths[row] for row in judged], bit_depth=bit_depth),
            labels=listing.labels[judged],
        )
