"""A file of transforms, tried on one image in a process of its own, which ends where it takes too long or too much.

Numbers within their limits can still ask for hours: a grid of 4096 x 4096, a blur over 4096 pixels.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transferkit import augment_file, presets
from transferkit.data import augment
from transferkit.zoo import children, limits
from transferkit.zoo.errors import UsageError

SECONDS = 30  # for an image; the presets take a hundredth of one
MEMORY_BYTES = 4 << 30  # beyond what Python and the libraries take
MOST_USUAL = 16  # of transforms, and of numbers that are not under one of these names:
CHEAP = {
    "height",
    "width",
    "size",
    "max_size",
    "min_height",
    "min_width",
    "fill",
    "fill_mask",
    "limit",
    "rotate",
    "seed",
}
START_SECONDS = 120  # for imports on a busy machine
TOO_SLOW, TOO_LARGE = 3, 4  # what the process ends with
SIZE = (384, 512)  # rows and columns of the image


def check(name_or_file: str, *, seconds: float = SECONDS) -> None:
    """Refuse a file whose transforms take more than `seconds` or 4 GB for one image, all made to happen; not a preset.

    Raises: UsageError saying which, or that albumentations is missing; as `augment_file.read`.
    """
    if presets.find(name_or_file):
        return
    transform, path = augment_file.read(Path(name_or_file)), name_or_file
    augment.refuse_without(path)
    if _is_usual(transform):
        return
    command = children.command("transferkit.data.augment_trial", str(seconds), ends_with_this=True)
    try:
        ended = subprocess.run(
            command, input=json.dumps(transform).encode(), capture_output=True, timeout=seconds + START_SECONDS
        ).returncode
    except subprocess.TimeoutExpired:
        ended = TOO_SLOW
    if ended == TOO_SLOW:
        raise UsageError(f"augmentation file {path} takes over {seconds:g} seconds for one image; make numbers smaller")
    if ended == TOO_LARGE:
        raise UsageError(f"augmentation file {path} takes over {MEMORY_BYTES >> 30} GB for one image")
    if ended:
        raise UsageError(f"augmentation file {path} ends Python on a first image ({ended}); leave transforms out")


def _is_usual(transform: dict[str, Any]) -> bool:
    """Whether there are few transforms of small numbers, sizes and angles aside: they need no trial of seconds."""
    leaves = list(_leaves(transform))
    numbers = [
        abs(float(number))
        for each in (*leaves, *_containers(transform))
        for argument, value in each.items()
        if argument not in CHEAP
        for number in _numbers(value)
    ]
    return len(leaves) <= MOST_USUAL and all(number <= MOST_USUAL for number in numbers)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _numbers(each)
    elif isinstance(value, (int, float, str)):
        with contextlib.suppress(ValueError):
            yield float(value)


def main() -> None:
    """Try the transform on stdin; SystemExit with `TOO_SLOW` or `TOO_LARGE`."""
    transform, seconds = json.load(sys.stdin), float(sys.argv[1])
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    limits.memory(MEMORY_BYTES)
    clock = threading.Timer(seconds, os._exit, [TOO_SLOW])
    clock.daemon = True
    clock.start()
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    certain = _certain(transform)
    for each in (*_leaves(certain), certain):
        try:
            made: Any = albumentations.from_dict({"transform": each})
            albumentations.Compose([made])(image=image)
        except MemoryError:
            os._exit(TOO_LARGE)
        except cv2.error as error:
            if error.code == cv2.Error.StsNoMem:
                os._exit(TOO_LARGE)
        except Exception:
            continue
    os._exit(0)


def _certain(transform: dict[str, Any]) -> dict[str, Any]:
    """The same with all probabilities 1."""
    made = transform | {"p": 1.0}
    return made | {"transforms": list(map(_certain, transform["transforms"]))} if "transforms" in transform else made


def _containers(transform: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "transforms" in transform:
        yield {argument: value for argument, value in transform.items() if argument != "transforms"}
        for child in transform["transforms"]:
            yield from _containers(child)


def _leaves(transform: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "transforms" not in transform:
        yield transform
    for child in transform.get("transforms", ()):
        yield from _leaves(child)


if __name__ == "__main__":
    main()
