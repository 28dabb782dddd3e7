"""How many bits the values of an image have, where the file has room for more than 8: what its white is.

A file may say it: a PNG in its sBIT chunk, a TIFF by BitsPerSample, MaxSampleValue or SMaxSampleValue. What it says
counts first, then the `bit_depth` that a user names, else all bits that the file has room for are taken to be used.
Sources: PNG (third edition), 11.3.2.7; TIFF 6.0, sections 8 and 19.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from transferkit.data import stated
from transferkit.data.source import DecodeError

BITS, COMPRESSION, PHOTOMETRIC, MAX_SAMPLE, PLANAR, FORMAT = 258, 259, 262, 281, 284, 339  # TIFF tags
SMIN_SAMPLE, SMAX_SAMPLE = 340, 341
WHITE_IS_ZERO, APART, UNSIGNED, SIGNED = 0, 2, 1, 2
USUAL_BITS = (8, 10, 12, 14, 16)  # of a sensor; a largest value that is measured, not meant, is rounded up to one
DIM_BELOW = 4096  # values that 12 bits hold
LARGEST = "transferkit largest value"  # in Image.info, of an image whose file does not say how many bits it has


class Values(NamedTuple):
    """Grey values from 0 (black), the one that is white, and whether the file or the user says so."""

    grey: np.ndarray
    white: float
    is_stated: bool


def check_layout(image: Image.Image) -> None:
    """Refuse an opened TIFF whose samples Pillow puts in the wrong places.

    Raises: DecodeError with the reason.
    """
    tags = _tags(image)
    bits, formats = _all(tags, BITS, 1), _all(tags, FORMAT, UNSIGNED)
    is_compressed = tags.get(COMPRESSION, 1) != 1
    if max(bits) > 8 and set(bits) != {16} and len(bits) > 1 and tags.get(PLANAR) == APART and not is_compressed:
        raise DecodeError(f"TIFF of {max(bits)} bits a colour with the colours in planes; save it interleaved")
    if SIGNED in formats and max(bits) <= 8:
        raise DecodeError("TIFF of signed 8-bit values; save it unsigned")
    if is_compressed and set(formats) != {UNSIGNED} and getattr(tags, "prefix", b"II") == b"MM":
        raise DecodeError("compressed big-endian TIFF of signed or fractional values; save it uncompressed")
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO and image.mode == "F":
        raise DecodeError("TIFF of fractional values whose zero is white; save it with zero as black")


def values(image: Image.Image, data: bytes, bit_depth: int | None) -> Values:
    """The values of a loaded image of mode I;16, I or F.

    Values below zero count from the smallest that a TIFF states to its largest (SMinSampleValue, SMaxSampleValue), else
    fractions within -1 and 1 between these, all others from the photo's own least to its own largest.

    Args: data, the file it is from, empty if that is not known; bit_depth, what the user says of such files.
    Raises: DecodeError if a value is not finite, or more than `bit_depth` allows.
    """
    found = np.asarray(image)
    if not np.isfinite(found).all():
        raise DecodeError("pixel values that are not finite")
    if found.min() < 0:
        low, high = _signed_range(image, found)
        return Values(found.astype(float) - low, high - low, is_stated=True)
    largest = float(found.max())
    said = _stated_white(image, data, found)
    if said is None and bit_depth and found.dtype.kind != "f":
        said = 2**bit_depth - 1
        if largest > said:
            raise DecodeError(f"a value of {largest:.0f}, which {bit_depth} bits do not hold; see --bit-depth")
    white = said or _usual_white(image, found)
    if _tags(image).get(PHOTOMETRIC) == WHITE_IS_ZERO and image.mode.startswith("I;16"):
        found = np.maximum(white - found.astype(np.int64), 0)
    return Values(found, white, said is not None)


def colour_white(image: Image.Image, data: bytes, bit_depth: int | None) -> tuple[int | None, int | None]:
    """Of a loaded colour image of 16 bits a sample whose values fill fewer: its white, if that is known to be less.

    Returns: white, None where Pillow's upper 8 bits are the colours; the largest value, as far as Pillow reads it, None
    where the file or the user says how many bits there are, and of every other image.
    """
    tags = _tags(image)
    if not image.mode.startswith("RGB") or (max(_all(tags, BITS, 8)) <= 8 and not _is_deep(data)):
        return None, None
    bands = [band for band in image.convert("RGB").getextrema() if isinstance(band, tuple)]  # least and largest
    largest = 256 * max(high for _, high in bands) + 255
    white = _meant(tags.get(SMAX_SAMPLE) or tags.get(MAX_SAMPLE), image.mode)
    said = int(white).bit_length() if white else stated.significant_bits(data)
    if said:
        is_low = said < 16 and largest < 2**said
    else:
        said, is_low = bit_depth, bool(bit_depth) and bit_depth < 16
    return (2**said - 1 if said and is_low else None), (None if said else largest)


def bits_of(largest: list[int], *, of: int) -> int | None:
    """The bits of values of `of` images, if most do not say it and none of these uses more than 12; else None.

    Args: largest, the largest value of each whose file does not say how many bits it has.
    """
    if not largest or max(largest) >= DIM_BELOW or 2 * len(largest) < of:
        return None
    return next(bits for bits in USUAL_BITS if max(largest) < 2**bits)


def dim_words(largest: Iterable[int], *, of: int, what: str) -> str:
    """What to say if most of `of` images are of more than 8 bits and none of these uses more than 12; else "".

    Args: largest, the largest value of each whose file does not say how many bits it has.
    """
    found = list(largest)
    bits = bits_of(found, of=of)
    if bits is None:
        return ""
    return (
        f"{len(found):,} of {of:,} {what} are files of 16 bits without a value above {max(found):,}, which makes them "
        f"nearly black; say --bit-depth {bits} if their values have {bits} bits, --bit-depth 16 if they are so dark"
    )


def _stated_white(image: Image.Image, data: bytes, found: np.ndarray) -> float | None:
    """The white that the file states; None if it states none, or one that its own values exceed."""
    tags, largest = _tags(image), float(found.max())
    if tags:
        bits = _all(tags, BITS, 1)[0]
        white = 2**bits - 1 if 8 < bits < 16 else _meant(tags.get(SMAX_SAMPLE) or tags.get(MAX_SAMPLE), image.mode)
        return white if white and largest <= white else None
    if stated.is_scaled(data):
        return 65535
    bits = stated.significant_bits(data)
    if not bits:
        return None
    if bits == 16 or largest >= 2**bits or _is_scaled(found, bits):
        return 65535  # as the standard has it: the values are in the upper bits
    return 2**bits - 1


def _signed_range(image: Image.Image, found: np.ndarray) -> tuple[float, float]:
    """Which values are black and white where some are below zero."""
    tags, least, largest = _tags(image), float(found.min()), float(found.max())
    low, high = (_number(tags.get(tag)) for tag in (SMIN_SAMPLE, SMAX_SAMPLE))
    if low is not None and high is not None and low <= least < largest <= high:
        return low, high
    if found.dtype.kind == "f" and least >= -1 and largest <= 1:
        return -1.0, 1.0
    return least, max(largest, least + 1)


def _meant(value: Any, mode: str) -> float | None:
    """The white that a TIFF's largest sample value means."""
    value = _number(value)
    if value is None or value <= 0:
        return None
    if mode == "F" or value > 65535:
        return float(value)
    bits = int(value).bit_length()
    return 2.0 ** (bits if bits >= 8 and value == 2**bits - 1 else next(b for b in USUAL_BITS if value < 2**b)) - 1


def _number(value: Any) -> float | None:
    """A tag's number, the first of several; None if it is none."""
    value = value[0] if isinstance(value, tuple) and value else value
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _is_scaled(found: np.ndarray, bits: int) -> bool:
    """Whether values of so many bits were brought to 16, by zeros below them or by repeating them."""
    upper = found >> (16 - bits) << (16 - bits)
    return bool(((found == upper) | (found == (upper | (found >> bits)))).all())


def _usual_white(image: Image.Image, found: np.ndarray) -> float:
    """The white of a kind of value that does not say: all its bits; of 32 bits 1, 255, 65535 or the largest."""
    if image.mode.startswith("I;16"):
        return 65535
    if _all(_tags(image), BITS, 32)[0] == 16:
        return 32767  # signed
    largest = float(found.max())
    steps = (1.0, 255.0, 65535.0) if found.dtype.kind == "f" else (255.0, 65535.0)
    return next((step for step in steps if largest <= step), largest)


def _is_deep(data: bytes) -> bool:
    """Whether it is a PNG or a pixmap of 16 bits a colour."""
    return stated.png_bits(data) == 16 or (data.startswith(b"P6") and stated.pnm_white(data) == 65535)


def _tags(image: Image.Image) -> Any:
    return getattr(image, "tag_v2", {})


def _all(tags: Any, tag: int, default: int) -> tuple[Any, ...]:
    found = tags.get(tag, default)
    return found if isinstance(found, tuple) and found else (found,)
