"""Which photos may be of one burst: taken by one camera within seconds, or numbered one after the other."""

import os
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from transferkit.audit import exif
from transferkit.data.listing import Listing
from transferkit.data.source import Member

SECONDS = 3  # between two photos of a burst
BY_TIME = 0.3, 1.25  # how alike they must be, and how many times nearer than strangers, as for near copies
BY_NAME = 0.6, 3
NUMBER = re.compile(r"(.*?)(\d{1,15})(\D*)", re.DOTALL)

Pairs = list[tuple[int, int]]


class Candidates(NamedTuple):
    """Pairs of places among the rows asked for, the first before the second."""

    by_time: Pairs
    by_name: Pairs


def candidates(listing: Listing, rows: np.ndarray) -> Candidates:
    """The photos of `rows` that follow each other by the clock of their camera, or by the number in their names."""
    moments = [_moment(os.fspath(listing.paths[row])) for row in rows]
    timed = sorted((*moment, place) for place, moment in enumerate(moments) if moment)
    named = sorted((*number, place) for place, row in enumerate(rows) if (number := _number(listing.relative(row))))
    by_time = _neighbours(timed, SECONDS)
    return Candidates(by_time, sorted(set(_neighbours(named, 1)) - set(by_time)))


def _neighbours(entries: Sequence[tuple[Any, float, int]], most: float) -> Pairs:
    """The places of entries that follow each other, are of one series and no more than `most` apart."""
    return sorted(
        (min(place, next_place), max(place, next_place))
        for (series, at, place), (next_series, next_at, next_place) in pairwise(entries)
        if series == next_series and next_at - at <= most
    )


def _number(path: str) -> tuple[Any, int] | None:
    """The series and the number in it of a photo.

    >>> _number("bees/img_012 (large).jpg")
    (('bees', 'img_', ' (large).jpg'), 12)
    """
    folder, _, name = path.rpartition("/")
    found = NUMBER.fullmatch(name)
    if not found:
        return None
    before, number, after = found.groups()
    return (folder, before, after), int(number)


def _moment(path: str) -> tuple[Any, float] | None:
    """The camera and the second at which it took a photo, by its EXIF data; None if they do not say it."""
    if Member.of(path):
        return None
    try:
        with Image.open(path, formats=("JPEG", "TIFF", "PNG", "WEBP")) as image:
            shot = exif.read(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # no photo of these kinds
        return None
    return None if shot.taken is None else ((shot.make, shot.model, shot.serial), shot.taken)
