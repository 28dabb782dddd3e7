"""Loaded images of any mode to RGB of 8 bits, and RGB of another colour profile to sRGB.

A profile says which colours the numbers mean: read as sRGB, those of Display P3 or Adobe RGB are pale. Only profiles of
RGB count; one that lcms cannot use, or that is larger than any in use, leaves the pixels as they are.
Sources: ICC.1:2022, 7.2 (header); IEC 61966-2-1 (sRGB).
"""

import functools
import io

import numpy as np
from PIL import Image, ImageCms

from transferkit.data import deep_colour, depth

LARGEST_PROFILE = 4 << 20  # bytes
SAME = 2  # of 255: profiles that differ by no more are names and roundings of sRGB
INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
RGB, MARK = b"RGB ", b"acsp"  # of a profile's header, at 16 and 36


def as_rgb(image: Image.Image, data: bytes, bit_depth: int | None) -> Image.Image:
    """A new RGB image of a loaded one of any mode: transparency on white, more than 8 bits scaled.

    Raises: DecodeError with the reason.
    """
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        grey, white, is_stated = depth.values(image, data, bit_depth)
        scaled = np.clip(grey * (255.0 / white), 0, 255)
        rgb = Image.fromarray(np.round(scaled).astype(np.uint8)).convert("RGB")
        largest = None if is_stated or white <= 255 or image.mode == "F" else int(grey.max())
    else:
        white, largest = depth.colour_white(image, data, bit_depth)
        rgb = on_white(deep_colour.scaled(image, data, white) if white else image)
    rgb.info.pop(depth.LARGEST, None)  # a text in the file may have that name
    if largest is not None:
        rgb.info[depth.LARGEST] = largest
    return rgb


def on_white(image: Image.Image) -> Image.Image:
    """The image in RGB, what is transparent laid on white."""
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(canvas, rgba).convert("RGB")
    return image.convert("RGB")


def in_srgb(image: Image.Image, profile: object) -> Image.Image:
    """An RGB image whose numbers are meant by an ICC `profile`, if it has one, with those of sRGB."""
    if not isinstance(profile, bytes) or profile[16:20] != RGB or profile[36:40] != MARK:
        return image
    transform = _transform(profile) if len(profile) <= LARGEST_PROFILE else None
    if transform is None:
        return image
    shown = transform.apply(image)
    shown.info = {key: value for key, value in image.info.items() if key != "icc_profile"}
    return shown


@functools.lru_cache(maxsize=32)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """What brings colours of a profile to sRGB; None where it changes nothing, or is damaged."""
    try:
        source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        made = ImageCms.buildTransform(source, srgb, "RGB", "RGB", renderingIntent=INTENT, flags=FLAGS)
        steps = np.linspace(0, 255, 9).round().astype(np.uint8)
        cube = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(27, 27, 3)
        change = np.abs(np.asarray(made.apply(Image.fromarray(cube))).astype(int) - cube)
    except Exception:  # lcms raises anything on hostile bytes, and Pillow without lcms ImportError
        return None
    return made if change.max() > SAME else None
