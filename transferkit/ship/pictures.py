"""Pictures of a run for those who show them elsewhere."""

import io
from collections.abc import Sequence

import numpy as np

from transferkit.ship.curves import INK, png

MOST_NAMED = 40  # classes whose names and numbers have room
INCHES_EACH = 0.45


def pixels(content: bytes) -> np.ndarray:
    """The pixels of a PNG file; shape (H, W, 3) uint8."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> bytes:
    """How many images of each class, a row, are taken for each, a column, as a PNG file; the shade is the share."""
    from matplotlib.figure import Figure

    table = np.asarray(counts, dtype=float)
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    side = 3 + INCHES_EACH * min(len(classes), MOST_NAMED)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="taken for", ylabel="class")
    axes.grid(visible=False)
    if len(classes) <= MOST_NAMED:
        named = [name.replace("$", r"\$") for name in classes]
        axes.set_xticks(range(len(classes)), named, rotation=90)
        axes.set_yticks(range(len(classes)), named)
        for row, column in np.argwhere(table > 0):
            shade = "white" if share[row, column] > 0.5 else INK
            axes.text(column, row, f"{int(table[row, column])}", ha="center", va="center", color=shade)
    return png(figure)
