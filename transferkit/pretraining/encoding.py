"""How an image file is encoded, in words, for the record of what a network was trained on."""

import functools
import io

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from transferkit.data import formats, sniff


def describe(content: bytes) -> str:
    """The format of a readable image file; of a JPEG with the quality at which Pillow writes the same tables, if any.

    >>> buffer = io.BytesIO()
    >>> Image.new("RGB", (8, 8)).save(buffer, "jpeg", quality=75)
    >>> describe(buffer.getvalue())
    'JPEG, quality 75'
    """
    if sniff.is_heic(content):
        return "HEIC"
    with formats.opened(content) as image:
        if not isinstance(image, JpegImageFile):
            return str(image.format)
        tables = image.quantization
    same = (quality for quality in range(1, 101) if _has_tables(quality, tables))
    quality = next(same, None)
    return f"JPEG, quality {quality}" if quality else "JPEG"


def _has_tables(quality: int, tables: dict[int, list[int]]) -> bool:
    """Whether Pillow writes these at `quality`; a grey image has the first table only."""
    known = _pillow_tables(quality)
    return all(known.get(number) == table for number, table in tables.items())


@functools.cache
def _pillow_tables(quality: int) -> dict[int, list[int]]:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "jpeg", quality=quality)
    with Image.open(buffer) as image:
        return image.quantization
