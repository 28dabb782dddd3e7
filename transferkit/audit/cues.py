"""What is seen of a photo without looking at what it shows: its size, format, brightness, border, camera and date."""

import contextlib
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from transferkit.audit import exif
from transferkit.data import formats
from transferkit.data.decode import decode
from transferkit.data.listing import PathTable
from transferkit.data.photos import Photos
from transferkit.data.source import Member, read_file
from transferkit.progress import Progress
from transferkit.zoo.errors import DataError, NetworkError

SIDE_PX = 32  # of the photo that is looked at; a JPEG is decoded at a part of its size
BORDER = 1 / 16  # of the sides
QUALITY, HEADER_BYTES = 90, 600  # of JPEGs that say how much there is to see, and what each has before its pixels
FEW_LEVELS = 4.0  # of 255; the deviation of a photo that is nearly one colour, docs/design.md says what was measured
SECONDS_OF_A_DAY = 86_400


class Seen(NamedTuple):
    """What is seen of a photo.

    Fields: width and height in pixels; brightness, the mean of 0 .. 255; spread, the largest deviation of a colour;
    border, its mean red, green, blue, and their deviation; detail, bytes a pixel that the photo takes when it is made
    small, as a JPEG of one quality; encoding, format, mode and the sum of a JPEG's table of quantisation; camera, ""
    where EXIF names none; taken, days since 1970, NaN where EXIF does not say.
    """

    width: int
    height: int
    brightness: float
    spread: float
    border: tuple[float, float, float, float]
    detail: float
    encoding: tuple[str, float]
    camera: str
    taken: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Cues:
    """What is seen of each image of a listing: None where it can no longer be read. Length of seen: N."""

    seen: list[Seen | None]

    def column(self, name: str) -> np.ndarray:
        """A number of each image; NaN where there is none. Shape (N,), or (N, 4) of `border`."""
        nothing = (np.nan,) * 4 if name == "border" else np.nan
        return np.array([nothing if each is None else getattr(each, name) for each in self.seen], float)

    @property
    def is_empty(self) -> np.ndarray:
        """Which photos are nearly one colour; shape (N,)."""
        return self.column("spread") < FEW_LEVELS


def look(paths: PathTable, photos: Photos, *, progress: Progress) -> Cues:
    """Look at every photo, small: large ones come from the store, where the first pass has put them."""
    progress.start("looking", len(paths))
    found = []
    with ThreadPoolExecutor(max(1, photos.workers), thread_name_prefix="look") as pool:
        try:
            for seen in pool.map(lambda row: _seen(paths[row], photos), range(len(paths))):
                found.append(seen)
                progress.advance(1)
        finally:
            pool.shutdown(cancel_futures=True)
    progress.finish()
    return Cues(seen=found)


def _seen(path: Path, photos: Photos) -> Seen | None:
    """What is seen of a photo; None if it cannot be read any more, which stops nothing."""
    try:
        with _source(path) as file:
            image = formats.peeked(file)
            size, encoding = image.size, _encoding(image)
            shot = exif.read(image)
            if min(size) >= 2 * photos.decoding.side_px:
                small = _small(photos.read(path).image)
            else:
                file.seek(0)
                small = _small(decode(file.read(), shrunk_to=SIDE_PX, bit_depth=photos.decoding.bit_depth))
    except (DataError, NetworkError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return Seen(
        *size,
        *_pixels(np.asarray(small, np.float32)),
        _detail(small),
        encoding,
        f"{shot.make} {shot.model}".strip(),
        _days(shot),
    )


@contextlib.contextmanager
def _source(path: Path) -> Iterator[Any]:
    """The file, open for reading; of a tar or a URL its bytes."""
    if Member.of(path):
        yield io.BytesIO(read_file(path))
        return
    with open(path, "rb") as file:
        yield file


def _small(image: Image.Image | np.ndarray) -> Image.Image:
    """A photo with its shorter side `SIDE_PX` long, or up to twice that."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    return image.reduce(max(1, min(image.size) // SIDE_PX))


def _detail(small: Image.Image) -> float:
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=QUALITY)
    return max(1, len(jpeg.getvalue()) - HEADER_BYTES) / (small.width * small.height)


def _pixels(pixels: np.ndarray) -> tuple[float, float, tuple[float, float, float, float]]:
    """Brightness, spread, border. Shapes: pixels (H, W, 3)."""
    height, width = pixels.shape[:2]
    edge = max(1, round(BORDER * min(height, width)))
    inside = np.zeros((height, width), bool)
    inside[edge : height - edge, edge : width - edge] = True
    border = pixels[~inside]  # (n, 3)
    red, green, blue = border.mean(0).tolist()
    brightness = float(pixels.mean((0, 1)) @ (0.299, 0.587, 0.114))  # ITU-R BT.601
    return brightness, float(pixels.std((0, 1)).max()), (red, green, blue, float(border.std(0).mean()))


def _encoding(image: Image.Image) -> tuple[str, float]:
    tables = getattr(image, "quantization", None) or {}
    return f"{image.format} {image.mode}", float(sum(tables.get(0, ())))


def _days(shot: exif.Shot) -> float:
    """Days since 1970 of the moment when a photo was taken, or else changed; NaN where neither is said."""
    found = shot.changed if shot.taken is None else shot.taken
    return np.nan if found is None else found / SECONDS_OF_A_DAY
