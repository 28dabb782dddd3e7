"""How many bits the values of a data set have whose files have room for 16 and do not say it: their largest tells."""

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from transferkit import runtime
from transferkit.data import depth, remote, stated
from transferkit.data.decode import decode
from transferkit.data.source import Member, read_file
from transferkit.progress import Progress
from transferkit.zoo.errors import DataError

SAMPLE = 32  # images that are looked at first: of most data sets none has 16 bits, or one of these is bright
TOGETHER = 64  # images between two looks at what was found


class Found(NamedTuple):
    """The bits of the values of all 16-bit images that do not say it, their number, and the largest value."""

    bits: int
    images: int
    largest: int


def search(paths: Sequence[Path], progress: Progress) -> Found | None:
    """What the largest value of all images says; None if most are not of 16 bits, or one has more than 12.

    All are read only where the first few, taken evenly, leave it open.
    """
    count = len(paths)
    sample = np.unique(np.linspace(0, count - 1, min(SAMPLE, count)).astype(int)).tolist()
    seen = _seen([paths[row] for row in sample], Progress())
    if count > len(sample) and _said(seen, of=len(sample)):
        seen = _seen(paths, progress)
        return _said(seen, of=count)
    return _said(seen, of=len(sample))


def _said(seen: list[int], *, of: int) -> Found | None:
    bits = depth.bits_of(seen, of=of)
    return Found(bits, len(seen), max(seen)) if bits else None


def _seen(paths: Sequence[Path], progress: Progress) -> list[int]:
    """The largest value of each image that does not say how many bits it has, up to the first that has more than 12."""
    found: list[int] = []
    progress.start("looking at the depth", len(paths))
    with ThreadPoolExecutor(runtime.default_workers(), thread_name_prefix="depth") as pool:
        for start in range(0, len(paths), TOGETHER):
            block = [paths[row] for row in range(start, min(start + TOGETHER, len(paths)))]
            found += [value for value in pool.map(_largest, block) if value is not None]
            progress.advance(len(block))
            if max(found, default=0) >= depth.DIM_BELOW:
                break
    progress.finish()
    return found


def _largest(path: Path) -> int | None:
    """The largest value of an image of 16 bits that does not say how many of them it uses; None of every other."""
    member = Member.of(path)
    if member and remote.is_remote(member.shard):  # to ask for many of them would take long
        return None
    with contextlib.suppress(DataError, OSError):
        if member or stated.may_be_deep(_start(path)):
            data = read_file(path)
            if stated.may_be_deep(data):
                return decode(data).info.get(depth.LARGEST)
    return None


def _start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(256)
