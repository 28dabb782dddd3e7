"""Generated images: photographs in all that costs time (size, bytes, structure), in a few classes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 5
QUALITY = 85
DETAIL = 12  # grey levels of the finest structure: with QUALITY, about 64 kB for 500 x 375 px


def write_photos(folder: Path, *, train: int, val: int, size_px: tuple[int, int] = (500, 375)) -> Path:
    """JPEG photographs in `folder`/train|val/CLASS, unless they are there already; `folder`."""

    def save(path: Path, index: int) -> None:
        _photo(index, size_px).save(f"{path}.jpg", quality=QUALITY)

    return _write_once(folder, {"train": train, "val": val}, save)


def write_small(folder: Path, count: int, *, side_px: int = 32) -> Path:
    """`count` PNG images, all different, in `folder`/CLASS, unless they are there already; `folder`."""

    def save(path: Path, index: int) -> None:
        rng = np.random.default_rng(index)
        coarse = rng.integers(0, 200, (4, 4, 3), dtype=np.uint8)
        coarse[..., index % 3] |= 32 * (index % CLASSES)
        pixels = np.kron(coarse, np.ones((side_px // 4, side_px // 4, 1), np.uint8))
        Image.fromarray(pixels).save(f"{path}.png", compress_level=1)

    return _write_once(folder, {"": count}, save)


def _write_once(folder: Path, counts: dict[str, int], save: Callable[[Path, int], None]) -> Path:
    """Have `save` write so many images to each part, to paths without a suffix."""
    if folder.is_dir():
        return folder
    started = folder.with_name(folder.name + ".part")
    shutil.rmtree(started, ignore_errors=True)
    index = 0
    for part, count in counts.items():
        for label in range(CLASSES):
            (started / part / f"class {label}").mkdir(parents=True)
        for number in range(count):
            save(started / part / f"class {number % CLASSES}" / f"{number:06d}", index)
            index += 1
    started.rename(folder)
    return folder


def _photo(index: int, size_px: tuple[int, int]) -> Image.Image:
    """Coarse to fine noise with the spectrum of a photograph, in a tint of its class."""
    rng = np.random.default_rng(index)
    width, height = size_px
    grey = rng.normal(128, DETAIL, (height, width)).astype(np.float32)
    side, strength = 4, 45.0
    while side < width:
        grid = rng.normal(0, strength, (max(side * height // width, 2), side)).astype(np.float32)
        grey += np.asarray(Image.fromarray(grid).resize(size_px, Image.Resampling.BICUBIC))
        side, strength = side * 2, strength * 0.6
    tint = rng.normal(1, 0.08, 3).astype(np.float32)
    tint[index % 3] += 0.05 * (index % CLASSES)
    return Image.fromarray((grey[..., None] * tint).clip(0, 255).astype(np.uint8))
