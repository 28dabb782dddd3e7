"""Heat maps laid over photos: what the file of a run has of them, and how they are drawn."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferkit.ship import run_files
from transferkit.ship.evidence_schema import HeatMaps
from transferkit.zoo.errors import ModelFileError

FILE = "heat_maps.json"
HEAT = ((0, 0, 0), (86, 15, 109), (187, 55, 84), (249, 142, 8), (252, 255, 164))  # of matplotlib's "inferno"
DARK = 0.35  # of the brightness, where the network did not look
LEAST = 1e-3  # side of a box
FAINT, STRONG = 0.2, 0.8  # of the colour over a photo, where the map is 0 and 1

Maps = dict[tuple[str, str], dict[str, Any]]  # by path and class


def fault(run: Path) -> str:
    """Why a network gave no maps; "" where it gave some, or has none. Raises: ModelFileError, StorageError."""
    path = run / FILE
    return run_files.checked(path, HeatMaps).get("fault", "") if path.exists() else ""


def read(run: Path) -> Maps:
    """The maps in RUN/heat_maps.json; none if it is absent. Raises: ModelFileError, StorageError."""
    path = run / FILE
    if not path.exists():
        return {}
    maps = run_files.checked(path, HeatMaps)["maps"]
    if any(len({*map(len, each["rows"])}) > 1 for each in maps):
        raise ModelFileError(f"{path} is damaged: a map has rows of several lengths")
    return {(each["path"], each["about"]): each for each in maps}


def draw(photo: Image.Image, entry: dict[str, Any]) -> Image.Image:
    """The photo, in grey, with its map over it; what the network did not see of it is dark.

    Args: entry, of the file: where in the photo the map lies, as shares of its sides, and its rows.
    """
    rows = np.array([list(bytes.fromhex(row)) for row in entry["rows"]], np.uint8)  # (h, w)
    left, top, right, bottom = entry["box"]
    across, down = max(right - left, LEAST), max(bottom - top, LEAST)
    ends = -left / across, -top / down, (1 - left) / across, (1 - top) / down  # of the photo, in sides of the box
    extent = tuple(end * side for end, side in zip(ends, rows.shape[::-1] * 2))
    heat = Image.fromarray(rows).transform(photo.size, Image.Transform.EXTENT, extent, Image.Resampling.BICUBIC)
    x, y = ((np.arange(side) + 0.5) / side for side in photo.size)
    is_seen = ((left <= x) & (x <= right)) & ((top <= y) & (y <= bottom))[:, None]  # (H, W)
    share = np.asarray(heat, np.float32)[..., None] / 255  # (H, W, 1)
    knots = np.linspace(0, 1, len(HEAT))
    colour = np.concatenate([np.interp(share, knots, channel) for channel in zip(*HEAT)], axis=-1)
    grey = np.asarray(photo.convert("L"), np.float32)[..., None] * np.where(is_seen, 1, DARK)[..., None]
    alpha = FAINT + (STRONG - FAINT) * share
    return Image.fromarray(((1 - alpha) * grey + alpha * colour).round().astype(np.uint8))
