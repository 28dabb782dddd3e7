"""The camera and the moment of a photo, as its EXIF block has them."""

import re
from datetime import datetime, timezone
from typing import NamedTuple

from PIL import Image

MAKE, MODEL, CHANGED, DETAILS = 0x010F, 0x0110, 0x0132, 0x8769  # tags of Exif 2.32
TAKEN, FRACTION, SERIAL = 0x9003, 0x9291, 0xA431


class Shot(NamedTuple):
    """How a photo was taken: make, model and serial number of the camera, "" each where it is not said.

    Fields: taken and changed, seconds since 1970 by the clock of the camera; None where they are not said.
    """

    make: str = ""
    model: str = ""
    serial: str = ""
    taken: float | None = None
    changed: float | None = None


def read(image: Image.Image) -> Shot:
    """What the EXIF block of an open photo says; nothing of a broken one."""
    try:
        exif = image.getexif()
        details = exif.get_ifd(DETAILS)
        make, model, serial = (_text(value) for value in (exif.get(MAKE), exif.get(MODEL), details.get(SERIAL)))
        taken, changed, fraction = (
            _text(each) for each in (details.get(TAKEN), exif.get(CHANGED), details.get(FRACTION))
        )
    except Exception:  # a broken block raises anything, and says nothing about the pixels
        return Shot()
    return Shot(make, model, serial, seconds(taken, fraction), seconds(changed))


def seconds(text: str, fraction: str = "") -> float | None:
    """Seconds since 1970 of a date in EXIF; None where it is none.

    >>> seconds("1970:01:02 00:00:00", "5"), seconds("0000:00:00 00:00:00")
    (86400.5, None)
    """
    if not re.match(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d", text):
        return None
    try:
        date = datetime.strptime(text[:19], "%Y:%m:%d %H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return date.timestamp() + (float(f"0.{fraction}") if fraction.isdecimal() else 0)


def _text(value: object) -> str:
    return str(value or "").strip("\0 ")
