"""Any source to upright RGB pixels, and those to what the network sees: the one path of every command."""

import functools
import importlib
import io
import math
import os
import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from transferkit.data import depth, sniff
from transferkit.data.quiet import silence_libtiff
from transferkit.data.source import DecodeError, read_file
from transferkit.zoo.card import Preprocessing

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")  # MPO, as phones write it, opens as JPEG
MIN_SIDE_PX = 2
MAX_ASPECT = 64  # a longer strip is trimmed before its shorter side is scaled up, or memory would follow its length

ORIENTATION_TAG = 0x0112
UPRIGHT = {  # EXIF 2.32, section 4.6.4: the turn that undoes each orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PILLOW_FILTER = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # as `warnings.filterwarnings` would store it


Decoded = Image.Image | np.ndarray  # an upright RGB photo, of Pillow or (H, W, 3) uint8


def decode(
    source: Path | str | bytes | np.ndarray | Image.Image, *, shrunk_to: int | None = None, bit_depth: int | None = None
) -> Image.Image:
    """The upright RGB image of a file, of a file's bytes, of a uint8 array or of a Pillow image.

    EXIF orientation is applied, more bits than 8 scaled to 8 (`data/depth.py`), transparency laid on white, the first
    frame of an animation taken. Formats go by content, not by name. Safe to call from many threads.

    Args: shrunk_to, the shorter side of what is returned if that of the source is at least twice as long; anything
    smaller keeps every bit. A JPEG file is then decoded at a half, a quarter or an eighth of its size. bit_depth, of
    the values in files with room for more than 8 bits that do not say it. Where nobody says it, the largest value
    stands in the image's `info` under `depth.LARGEST`.
    Shapes: an array is (H, W), (H, W, 3) or (H, W, 4).
    Raises: DecodeError with the reason.
    """
    _silence_pillow()
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    if isinstance(source, Image.Image):
        image = _loaded(source, b"", bit_depth)
        return _shrunk(image, shrunk_to) if shrunk_to and _is_large(image, shrunk_to) else image
    data = read_file(source) if isinstance(source, (str, os.PathLike)) else source
    if not isinstance(data, bytes):
        raise DecodeError(f"a {type(source).__name__} is no image; a path, bytes, a uint8 array or a Pillow image is")
    if not data:
        raise DecodeError("empty file")
    with _opened(data) as image:
        if not shrunk_to or not _is_large(image, shrunk_to):
            return _loaded(image, data, bit_depth)
        image.draft("RGB", (shrunk_to, shrunk_to))  # changes the size of a JPEG, never to less than this
        return _shrunk(_loaded(image, data, bit_depth), shrunk_to)


def eval_view(image: Decoded, preprocessing: Preprocessing) -> np.ndarray:
    """The pixels a network is evaluated on: resized, then cropped or padded in the middle to `size_px`.

    Shapes: (H, W, 3) uint8 with (H, W) = `size_px`.
    Source: bit for bit timm's `create_transform(is_training=False)` less normalisation (strips over 64 : 1 excepted).
    Before 1.0.31 timm resizes to sides of two lengths by its bilinear filter, whatever filter it is given.
    """
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    height, width = preprocessing.size_px
    target = [math.floor(side / preprocessing.crop_pct) for side in preprocessing.size_px]
    if preprocessing.crop_mode == "center":
        image = _trimmed(image)
    resized_height, resized_width = _resized_size(image, target, preprocessing.crop_mode)
    resample = Image.Resampling[preprocessing.interpolation.upper()]
    resized = image.resize((resized_width, resized_height), resample)
    top, left = _offset(resized_height, height), _offset(resized_width, width)
    canvas = Image.new("RGB", (width, height), tuple(round(255 * value) for value in preprocessing.mean))
    canvas.paste(resized, (-left, -top))
    return np.array(canvas)


def seen_box(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[float, float, float, float]:
    """Where in an upright photo lies what `eval_view` shows: left, top, right, bottom, in shares of its sides.

    Where the view is padded, the padding lies outside, below 0 and above 1.

    Args: size, width and height of the photo.
    """
    image = Image.new("1", size)
    target = [math.floor(side / preprocessing.crop_pct) for side in preprocessing.size_px]
    kept = _trimmed(image) if preprocessing.crop_mode == "center" else image
    box = [0.0] * 4
    for axis, resized in enumerate(reversed(_resized_size(kept, target, preprocessing.crop_mode))):
        want, whole, part = preprocessing.size_px[1 - axis], size[axis], kept.size[axis]
        start = _offset(resized, want)
        box[axis::2] = [((whole - part) // 2 + end * part / resized) / whole for end in (start, start + want)]
    return box[0], box[1], box[2], box[3]


def _is_large(image: Image.Image, side: int) -> bool:
    """Whether to shrink it: below twice `side` that would cost more time than it saves the view that is made next."""
    return min(image.size) >= 2 * side


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    """The image with its shorter side `side` long, averaged over the pixels that fall together."""
    shorter = min(image.size)
    width, height = (side if length == shorter else round(length * side / shorter) for length in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _trimmed(image: Image.Image) -> Image.Image:
    longest = MAX_ASPECT * min(image.size)
    if max(image.size) <= longest:
        return image
    width, height = (min(side, longest) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _resized_size(image: Image.Image, target: list[int], crop_mode: str) -> tuple[int, int]:
    """Height and width before the crop, rounded as timm and torchvision round."""
    height, width = image.height, image.width
    if crop_mode == "squash":
        return target[0], target[1]
    if crop_mode == "center" and target[0] == target[1]:  # torchvision's Resize rounds down
        side = target[0]
        return (side, int(side * width / height)) if height <= width else (int(side * height / width), side)
    choose = max if crop_mode == "border" else min
    ratio = choose(height / target[0], width / target[1])
    return max(1, round(height / ratio)), max(1, round(width / ratio))


def _offset(have: int, want: int) -> int:
    """Where the middle `want` pixels of `have` start; negative when there is something to pad."""
    return round((have - want) / 2) if have >= want else -((want - have) // 2)


def _silence_pillow() -> None:
    """Ignore what is printed and warned inside Pillow from now on: what matters in it is refused by us with a reason.

    `warnings.catch_warnings` is no way out: it changes the filters of all threads, in whatever order they leave it.
    """
    silence_libtiff()
    if PILLOW_FILTER not in warnings.filters:
        warnings.filterwarnings("ignore", module=PILLOW_FILTER[3].pattern)


def _opened(data: bytes) -> Image.Image:
    """The image with its header read, pixels not yet."""
    formats = FORMATS
    if sniff.is_heic(data):
        if not _has_heic_reader():
            raise DecodeError("HEIC photo: pip install 'transferkit[heic]' to read it")
        formats = ("HEIF",)
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        raise DecodeError("more pixels than the limit of 179 million") from error
    except UnidentifiedImageError as error:
        raise DecodeError(sniff.kind(data)) from error
    except Exception as error:  # the plugins raise anything on hostile bytes
        raise DecodeError(_damage(error)) from error


@functools.cache
def _has_heic_reader() -> bool:
    try:
        heif = importlib.import_module("pillow_heif")
    except ImportError:
        return False
    heif.register_heif_opener()
    return True


def _damage(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "too large for the memory of this machine"
    return "truncated" if "truncated" in str(error).lower() else "damaged"


def _loaded(image: Image.Image, data: bytes, bit_depth: int | None) -> Image.Image:
    if min(image.size) < MIN_SIDE_PX:
        raise DecodeError(f"{image.width} x {image.height} px; at least {MIN_SIDE_PX} on a side are needed")
    try:
        depth.check_layout(image)
        image.load()
        rgb = _as_rgb(image, data, bit_depth)
    except DecodeError:
        raise
    except Exception as error:  # as above
        raise DecodeError(_damage(error)) from error
    turn = UPRIGHT.get(_orientation(image))
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 if there is none that can be read; read after `load`, which turns a TIFF by itself."""
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # a broken EXIF block raises anything, and says nothing about the pixels
        return 1


def _as_rgb(image: Image.Image, data: bytes, bit_depth: int | None) -> Image.Image:
    """A new RGB image of any mode: transparency on white, more than 8 bits scaled."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        grey, white, is_stated = depth.values(image, data, bit_depth)
        scaled = np.clip(grey * (255.0 / white), 0, 255)
        rgb = Image.fromarray(np.round(scaled).astype(np.uint8)).convert("RGB")
        largest = None if is_stated or white <= 255 or image.mode == "F" else int(grey.max())
    else:
        rgb = _colours(image)
        largest = depth.check_colour(image, data, bit_depth)
    rgb.info.pop(depth.LARGEST, None)  # a text in the file may have that name
    if largest is not None:
        rgb.info[depth.LARGEST] = largest
    return rgb


def _colours(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(canvas, rgba).convert("RGB")
    return image.convert("RGB")


def _from_array(pixels: np.ndarray) -> Image.Image:
    is_image = pixels.dtype == np.uint8 and (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4)))
    if not is_image:
        raise DecodeError(
            f"array of {pixels.dtype}, shape {pixels.shape}; uint8 (H, W), (H, W, 3) or (H, W, 4) is allowed"
        )
    if min(pixels.shape[:2]) < MIN_SIDE_PX:
        raise DecodeError(f"{pixels.shape[1]} x {pixels.shape[0]} px; at least {MIN_SIDE_PX} on a side are needed")
    return Image.fromarray(np.ascontiguousarray(pixels))
