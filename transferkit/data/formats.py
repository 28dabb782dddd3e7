"""The formats that are read, and their readers: Pillow's, and those of optional packages."""

import functools
import importlib
import io
import re
import warnings
from typing import Any, BinaryIO, NamedTuple

from PIL import Image, ImageFile, UnidentifiedImageError, features

from transferkit.data import dicom, png, sniff
from transferkit.data.quiet import silence_libtiff
from transferkit.data.source import DecodeError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000", "PPM")  # MPO, of phones, opens as JPEG
FILTER = ("ignore", None, Warning, re.compile(r"(PIL|pydicom)\."), 0)  # as `warnings.filterwarnings` would store it


class Plugin(NamedTuple):
    """A package that adds a format to Pillow: its module, what to call there, and what installs it."""

    module: str
    register: str  # "" where importing is enough
    photo: str
    extra: str


PLUGINS = {
    "HEIF": Plugin("pillow_heif", "register_heif_opener", "HEIC photo", "heic"),
    "JXL": Plugin("pillow_jxl", "", "JPEG XL photo", "jxl"),
}


def opened(data: bytes) -> Image.Image:
    """The image in the bytes of a file, with its header read; that of a DICOM file with its pixels.

    Raises: DecodeError with the reason.
    """
    silence()
    try:
        if sniff.is_dicom(data):
            return dicom.image(data)
        return _with_all_bits(Image.open(io.BytesIO(png.without_long_texts(data)), formats=_formats(data)))
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:
        raise DecodeError("more pixels than the limit of 179 million") from error
    except UnidentifiedImageError as error:
        raise DecodeError(sniff.kind(data)) from error
    except Exception as error:  # the plugins raise anything on hostile bytes
        raise DecodeError(damage(error)) from error


def peeked(file: BinaryIO) -> Image.Image:
    """The image in an open file, of which no more is read than its header, but of PNG and DICOM.

    Raises: DecodeError, and what Pillow raises.
    """
    start = file.read(256)
    file.seek(0)
    if sniff.is_dicom(start) or start.startswith(png.SIGNATURE):
        return opened(file.read())
    return Image.open(file, formats=_formats(start))


def damage(error: Exception) -> str:
    """The reason why a file is refused in which a reader has met an error."""
    if isinstance(error, MemoryError):
        return "too large for the memory of this machine"
    return "truncated" if "truncated" in str(error).lower() else "damaged"


def silence() -> None:
    """Ignore what is printed and warned inside the readers from now on: what matters in it is refused with a reason.

    `warnings.catch_warnings` is no way out: it changes the filters of all threads, in whatever order they leave it.
    """
    silence_libtiff()
    if FILTER not in warnings.filters:
        warnings.filterwarnings("ignore", module=FILTER[3].pattern)


def _formats(start: bytes) -> tuple[str, ...]:
    """The names that Pillow has for what a file that begins so may be."""
    name = "HEIF" if sniff.is_heic(start) else "JXL" if sniff.is_jpeg_xl(start) else None
    if name:
        if not _has(name):
            plugin = PLUGINS[name]
            raise DecodeError(f"{plugin.photo}: pip install 'transferkit[{plugin.extra}]' to read it")
        return (name,)
    if sniff.is_jpeg_2000(start) and not features.check("jpg_2000"):
        raise DecodeError("JPEG 2000 photo, which the Pillow of this machine cannot read; convert it to PNG")
    return FORMATS


@functools.cache
def _has(name: str) -> bool:
    plugin = PLUGINS[name]
    try:
        module = importlib.import_module(plugin.module)
    except ImportError:
        return False
    if plugin.register:
        getattr(module, plugin.register)()
    return True


def _with_all_bits(image: ImageFile.ImageFile) -> Image.Image:
    """The opened image with the readers set right that would take 16 bits a colour for 8, or go pixel by pixel."""
    tiles: Any = image.tile
    if image.format == "TIFF" and tiles and tiles[0].codec_name == "raw" and len(image.getbands()) > 1:
        tags = image.tag_v2  # pyright: ignore[reportAttributeAccessIssue]
        end = "L" if tags.prefix == b"II" else "B"
        if tags.get(284) == 2 and max(tags.get(258, (8,))) == 16:  # planes; BitsPerSample
            image.tile = [tile._replace(args=(f"{tile.args[0]};16{end}", *tile.args[1:])) for tile in tiles]
    elif image.format == "PPM" and image.mode == "RGB" and tiles[0].args == ("RGB", 65535):
        image.tile = [tile._replace(codec_name="raw", args="RGB;16B") for tile in tiles if tile.codec_name == "ppm"]
        image.tile = image.tile or tiles
    return image
