"""Any source to upright RGB pixels, and those to what the network sees: the one path of every command."""

import math
import os
from pathlib import Path

import numpy as np
from PIL import Image

from transferkit.data import colour, depth, formats
from transferkit.data.source import DecodeError, read_file
from transferkit.zoo.card import Preprocessing

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

Decoded = Image.Image | np.ndarray  # an upright RGB photo, of Pillow or (H, W, 3) uint8


def decode(
    source: Path | str | bytes | np.ndarray | Image.Image, *, shrunk_to: int | None = None, bit_depth: int | None = None
) -> Image.Image:
    """The upright RGB image of a file, of a file's bytes, of a uint8 array or of a Pillow image.

    EXIF orientation is applied, more bits than 8 scaled to 8 (`data/depth.py`), colours of another profile brought to
    sRGB, transparency laid on white, the first frame of an animation taken. Formats go by content, not by name
    (`data/formats.py`). Safe to call from many threads.

    Args: shrunk_to, the shorter side of what is returned if that of the source is at least twice as long; anything
    smaller keeps every bit. A JPEG file is then decoded at a half, a quarter or an eighth of its size. bit_depth, of
    the values in files with room for more than 8 bits that do not say it. Where nobody says it, the largest value
    stands in the image's `info` under `depth.LARGEST`.
    Shapes: an array is (H, W), (H, W, 3) or (H, W, 4).
    Raises: DecodeError with the reason.
    """
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    if isinstance(source, Image.Image):
        formats.silence()
        return _photo(source, b"", shrunk_to, bit_depth)
    data = read_file(source) if isinstance(source, (str, os.PathLike)) else source
    if not isinstance(data, bytes):
        raise DecodeError(f"a {type(source).__name__} is no image; a path, bytes, a uint8 array or a Pillow image is")
    if not data:
        raise DecodeError("empty file")
    with formats.opened(data) as image:
        return _photo(image, data, shrunk_to, bit_depth)


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


def _photo(image: Image.Image, data: bytes, shrunk_to: int | None, bit_depth: int | None) -> Image.Image:
    """The photo in an opened image; its profile is looked at last, when few pixels are left.

    Below twice `shrunk_to` the resize would cost more time than it saves the view that is made next.
    """
    side = shrunk_to if shrunk_to and min(image.size) >= 2 * shrunk_to else None
    if side and data:
        image.draft("RGB", (side, side))  # changes the size of a JPEG, never to less than this
    photo = _loaded(image, data, bit_depth)
    return colour.in_srgb(_shrunk(photo, side) if side else photo, image.info.get("icc_profile"))


def _loaded(image: Image.Image, data: bytes, bit_depth: int | None) -> Image.Image:
    if min(image.size) < MIN_SIDE_PX:
        raise DecodeError(f"{image.width} x {image.height} px; at least {MIN_SIDE_PX} on a side are needed")
    try:
        depth.check_layout(image)
        image.load()
        rgb = colour.as_rgb(image, data, bit_depth)
    except DecodeError:
        raise
    except Exception as error:  # as above
        raise DecodeError(formats.damage(error)) from error
    turn = UPRIGHT.get(_orientation(image))
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 if there is none that can be read; read after `load`, which turns a TIFF by itself."""
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # a broken EXIF block raises anything, and says nothing about the pixels
        return 1


def _from_array(pixels: np.ndarray) -> Image.Image:
    is_image = pixels.dtype == np.uint8 and (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4)))
    if not is_image:
        raise DecodeError(
            f"array of {pixels.dtype}, shape {pixels.shape}; uint8 (H, W), (H, W, 3) or (H, W, 4) is allowed"
        )
    if min(pixels.shape[:2]) < MIN_SIDE_PX:
        raise DecodeError(f"{pixels.shape[1]} x {pixels.shape[0]} px; at least {MIN_SIDE_PX} on a side are needed")
    return Image.fromarray(np.ascontiguousarray(pixels))
