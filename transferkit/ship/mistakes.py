"""The photos of a report: the worst mistakes and the least certain answers, with what the network looked at."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from transferkit.data.decode import DecodeError, decode
from transferkit.ship import overlays
from transferkit.ship.markup import section, shown
from transferkit.ship.overlays import Maps

MAX_MISTAKES, MAX_UNCERTAIN = 24, 12
THUMBNAIL_PX = 160


class Case(NamedTuple):
    """A judged image: what was said of it, what it is, how wrong or uncertain that is, from 0 to 1; the class that it
    is about, and whether the answer is right.
    """

    path: str | Path
    said: str
    true: str
    error: float
    about: str
    is_right: bool = False


def first(cases: Sequence[Case], most: int) -> list[Case]:
    """The worst, or least certain, of them."""
    return sorted(cases, key=lambda case: (-case.error, str(case.path)))[:most]


def pictures(title: str, cases: Sequence[Case], maps: Maps, *, lead: str, bit_depth: int | None) -> str:
    """A section with each photo, and beside it its map where there is one; nothing where there are no cases."""
    if not cases:
        return ""
    figures = "".join(_figure(case, maps, bit_depth) for case in cases)
    if any(_key(case) in maps for case in cases):
        lead += " Beside each photo is where the network saw that class: bright places spoke for it, "
        lead += "the dark frame it did not see."
    return section(title, f'<div class="cases">{figures}</div>', lead=lead)


def thumbnail(source: str | Path | bytes | np.ndarray | Image.Image, bit_depth: int | None = None) -> str:
    """A small JPEG inside the page, or words on grey where the image cannot be read any more."""
    try:
        return _jpeg(_small(source, bit_depth), "")
    except DecodeError:
        return "cannot be read"


def _small(source: str | Path | bytes | np.ndarray | Image.Image, bit_depth: int | None) -> Image.Image:
    image = decode(source, shrunk_to=THUMBNAIL_PX, bit_depth=bit_depth)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return ImageOps.scale(image, THUMBNAIL_PX // max(image.size), Image.Resampling.NEAREST)


def _figure(case: Case, maps: Maps, bit_depth: int | None) -> str:
    try:
        photo = _small(case.path, bit_depth)
    except DecodeError:
        pictures = '<div class="picture">cannot be read</div>'
    else:
        pictures = f'<div class="picture">{_jpeg(photo, "")}</div>'
        if entry := maps.get(_key(case)):
            alt = f"where the network saw {shown(case.about)}"
            pictures += f'<div class="picture">{_jpeg(overlays.draw(photo, entry), alt)}</div>'
    said = "said right" if case.is_right else "said"
    return (
        f'<figure title="{shown(case.path)}"><div class="pictures">{pictures}</div>'
        f'<figcaption><span class="{said}">{shown(case.said)}</span><span>{shown(case.true)}</span>'
        f'<span class="file">{shown(Path(case.path).name)}</span></figcaption></figure>'
    )


def _key(case: Case) -> tuple[str, str]:
    return str(case.path), case.about


def _jpeg(image: Image.Image, alt: str) -> str:
    """A small JPEG inside the page."""
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=80)
    return f'<img alt="{alt}" src="data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}">'
