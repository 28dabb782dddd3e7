"""Colours of 16 bits a sample with all of their bits, of which Pillow reads the upper 8."""

from typing import Any

import numpy as np
from PIL import Image

from transferkit.data import formats
from transferkit.data.source import DecodeError

OTHER_END = {"B": "L", "L": "B", "N": "B" if np.little_endian else "L"}  # of Pillow's raw modes: which byte is first
ADVICE = "of 16 bits a colour only the upper 8 can be read; save it with 8 bits a colour"


def scaled(image: Image.Image, data: bytes, white: int) -> Image.Image:
    """The image with 8 bits a sample of a loaded one whose samples, in the file `data`, are 16 bits up to `white`.

    Raises: DecodeError if a value is above white, or the lower bits cannot be read.
    """
    upper, lower = np.asarray(image).astype(np.uint16), _lower(image, data)
    values = upper << 8 | lower
    colours = values[..., :3]
    if colours.max() > white:
        raise DecodeError(f"a value of {colours.max()}, which {white.bit_length()} bits do not hold; see --bit-depth")
    pixels = colours * (255.0 / white)
    if values.shape[2] > 3:  # opaque is all bits, or as many as white has
        alpha = values[..., 3:]
        pixels = np.concatenate([pixels, alpha * (255.0 / (white if alpha.max() <= white else 65535))], -1)
    made = Image.fromarray(np.round(pixels).astype(np.uint8))
    made.info = dict(image.info)
    return made


def _lower(image: Image.Image, data: bytes) -> np.ndarray:
    """The lower byte of each sample: the file read once more, as if its bytes were in the other order."""
    again = formats.opened(data) if data else image
    tiles = getattr(again, "tile", [])
    swapped = [tile._replace(args=_swapped(tile.args)) for tile in tiles]
    if not tiles or swapped == tiles:
        raise DecodeError(f"values of few bits in a file of 16: {ADVICE}")
    again.tile = swapped  # pyright: ignore[reportAttributeAccessIssue]
    with again:
        again.load()
        return np.asarray(again).astype(np.uint16)


def _swapped(args: Any) -> Any:
    if isinstance(args, tuple):
        return (_swapped(args[0]), *args[1:])
    is_deep = isinstance(args, str) and args[-4:-1] == ";16"
    return args[:-1] + OTHER_END[args[-1]] if is_deep else args
