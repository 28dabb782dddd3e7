"""The mistakes of a report, as pictures."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageOps

from transferkit.data.decode import DecodeError, decode
from transferkit.ship.markup import section, shown

MAX_MISTAKES = 24
THUMBNAIL_PX = 160


class Mistake(NamedTuple):
    """An image that is named wrong: what was said of it, what it is, and how wrong that is, from 0 to 1."""

    path: str | Path
    said: str
    true: str
    error: float


def pictures(mistakes: Sequence[Mistake], *, lead: str, bit_depth: int | None) -> str:
    """The worst of them; nothing where there are none."""
    worst = sorted(mistakes, key=lambda mistake: (-mistake.error, str(mistake.path)))[:MAX_MISTAKES]
    figures = "".join(
        f'<figure title="{shown(mistake.path)}"><div class="picture">{_thumbnail(mistake.path, bit_depth)}</div>'
        f'<figcaption><span class="said">{shown(mistake.said)}</span><span>{shown(mistake.true)}</span>'
        f'<span class="file">{shown(Path(mistake.path).name)}</span></figcaption></figure>'
        for mistake in worst
    )
    lead = f"{lead}; these {len(worst)} it was surest of. Look for wrong labels."
    return section("The worst mistakes", f'<div class="mistakes">{figures}</div>', lead=lead) if worst else ""


def _thumbnail(path: str | Path, bit_depth: int | None) -> str:
    """A small JPEG inside the page, or words on grey where the image cannot be read any more."""
    try:
        image = decode(path, shrunk_to=THUMBNAIL_PX, bit_depth=bit_depth)
    except DecodeError:
        return "cannot be read"
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    image = ImageOps.scale(image, THUMBNAIL_PX // max(image.size), Image.Resampling.NEAREST)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=80)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}">'
