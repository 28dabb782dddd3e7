"""What of a photo tells its copies: a small grey picture, and corners with what surrounds each, mirrored too."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferkit.data.decode import Decoded
from transferkit.data.photos import Photos
from transferkit.data.source import DecodeError
from transferkit.zoo.errors import TransferkitError

SIDE_PX = 128  # the longer one; details that a copy of half the size still has
CORNERS = 120  # at most, of a photo
LEAST_PX = 32  # of the shorter side, for corners
DESCRIPTOR_BYTES = 32
TOGETHER = 256  # photos that are read ahead of what is done with them


@dataclass(frozen=True, eq=False)
class Corners:
    """Shapes: places (n, 2) float32, x and y in pixels; descriptors (n, 32) uint8, of 256 bits each."""

    places: np.ndarray
    descriptors: np.ndarray


@dataclass(frozen=True, eq=False)
class Print:
    """A photo for comparison with others: grey (h, w) uint8, its corners as it is and mirrored."""

    grey: np.ndarray
    corners: tuple[Corners, Corners]

    def view(self, mirrored: int) -> np.ndarray:
        """The grey picture, mirrored or not."""
        return np.ascontiguousarray(self.grey[:, ::-1]) if mirrored else self.grey


def grey_of(image: Decoded) -> np.ndarray:
    """A photo in small and grey; shape (h, w) uint8."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    scale = min(1.0, SIDE_PX / max(image.size))
    width, height = (max(2, round(length * scale)) for length in image.size)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0).convert("L"))


def of(grey: np.ndarray) -> Print:
    """The print of a photo that is small and grey.

    Source: ORB, Rublee et al. 2011, https://doi.org/10.1109/ICCV.2011.6126544, as OpenCV has it.
    """
    return Print(grey, (_corners(grey), _corners(np.ascontiguousarray(grey[:, ::-1]))))


def _corners(grey: np.ndarray) -> Corners:
    import cv2

    points: Any = ()
    descriptors = None
    if min(grey.shape) >= LEAST_PX:
        orb = cv2.ORB.create(nfeatures=CORNERS, nlevels=6, fastThreshold=5, edgeThreshold=12, patchSize=24)
        points, descriptors = orb.detectAndCompute(grey, None)
    if descriptors is None or not len(points):
        return Corners(np.zeros((0, 2), np.float32), np.zeros((0, DESCRIPTOR_BYTES), np.uint8))
    return Corners(cv2.KeyPoint.convert(points).reshape(-1, 2), descriptors)


def read(paths: Sequence[Path], photos: Photos, *, greys: Mapping[Path, np.ndarray]) -> Iterator[Print | None]:
    """The print of each photo, in order, made by as many threads as `photos` has; None where it cannot be read.

    Args: greys, those that are at hand; other photos are read.
    """
    import cv2

    cv2.setNumThreads(0)  # the threads here are the parallelism

    def make(path: Path) -> Print | None:
        try:
            return of(greys[path] if path in greys else grey_of(photos.read(path).image))
        except (DecodeError, TransferkitError, OSError, cv2.error):  # changed since the first pass
            return None

    with ThreadPoolExecutor(max(1, photos.workers)) as threads:
        for start in range(0, len(paths), TOGETHER):  # a stop waits for no more than these
            yield from threads.map(make, paths[start : start + TOGETHER])
