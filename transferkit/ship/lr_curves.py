"""The picture of very high, high, good and low learning rates: the losses of short runs in one plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from transferkit.ship.curves import BLUE, GREY, INK, STYLE, VERMILION, png
from transferkit.train.lr_find import GOOD, HIGH, LOW, VERY_HIGH, Suggestion
from transferkit.zoo.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMOOTHED_SHARE = 0.1  # of the steps, in the running mean
HEADROOM = 0.35  # of the height between the lowest loss and the first; what rises above it is clipped
LABEL_HEIGHT = 0.055  # of the axes
STYLES = {  # told apart by dash as well as by colour
    LOW: {"color": GREY, "linestyle": "--", "linewidth": 1.8},
    GOOD: {"color": BLUE, "linestyle": "-", "linewidth": 2.6, "zorder": 3},
    HIGH: {"color": VERMILION, "linestyle": "-.", "linewidth": 1.8},
    VERY_HIGH: {"color": INK, "linestyle": ":", "linewidth": 1.8},
}


@dataclass(frozen=True, kw_only=True)
class _Label:
    """Words for the point (x, y) of a curve."""

    text: str
    color: str
    x: float
    y: float


def draw(found: Suggestion, out: Path) -> None:
    """Write to `out`, a PNG file, the losses over the steps, each labelled at its end, and the suggested rate.

    Raises: StorageError.
    """
    write_bytes(out, png(figure(found)))


def figure(found: Suggestion) -> "Figure":
    """The picture that `draw` writes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    trials = found.trials
    start = max(trial.losses[0] for trial in trials)
    curves = [_smooth(np.array(trial.losses), limit=2 * start) for trial in trials]
    bottom = min(curve.min() for curve in curves)
    top = start + HEADROOM * (start - bottom)
    ends, exits = [], []
    with rc_context(STYLE):
        picture = Figure(figsize=(8, 5.6), layout="constrained")
        axes = picture.add_subplot()
        for trial, curve, word in zip(trials, curves, found.words):
            style = STYLES[word]
            axes.plot(trial.losses, color=style["color"], linewidth=0.7, alpha=0.2)
            axes.plot(curve, **style)
            text = f"{trial.lr:.2g} {word}"
            if curve[-1] > top:
                exits.append(_Label(text=text, color=style["color"], x=_exit(curve, top), y=top))
            else:
                ends.append(_Label(text=text, color=style["color"], x=len(curve) - 1, y=curve[-1]))
        axes.set_xlim(0, max(len(curve) for curve in curves) - 1)
        axes.set_ylim(bottom - 0.05 * (top - bottom), top)
        _label_ends(axes, ends)
        _label_exits(axes, exits)
        axes.set_xlabel("step")
        axes.set_ylabel("training loss")
        title = f"Suggested learning rate: {found.lr:.2g}\n{found.span}"
        picture.suptitle(title, x=0.01, ha="left", fontsize="medium", fontweight="bold")
    return picture


def _smooth(losses: np.ndarray, *, limit: float) -> np.ndarray:
    """A running mean of the past with weights that fade; what exceeds `limit` or is not finite counts as `limit`.

    >>> _smooth(np.array([1.0, 2.0, np.nan]), limit=5.0).tolist()
    [1.0, 2.0, 5.0]
    """
    is_finite = np.isfinite(losses)
    capped = np.minimum(np.where(is_finite, losses, limit), limit)
    span = max(1.0, SMOOTHED_SHARE * len(losses))
    weights = (1 - 1 / span) ** np.arange(len(losses))
    means = np.convolve(capped, weights)[: len(losses)] / weights.cumsum()
    return np.where(is_finite, means, limit)  # a mean would hide a run that diverged at once


def _exit(curve: np.ndarray, top: float) -> float:
    """The step, interpolated, after which a curve that ends above `top` stays above it."""
    last = np.flatnonzero(curve <= top)[-1]
    return last + (top - curve[last]) / (curve[last + 1] - curve[last])


def _label_ends(axes: "Axes", labels: list[_Label]) -> None:
    """Right of the axes, moved apart where they would overlap, with a line to the end of the curve."""
    labels = sorted(labels, key=lambda label: label.y)
    low, high = axes.get_ylim()
    heights = spread([(label.y - low) / (high - low) for label in labels], gap=LABEL_HEIGHT)
    for label, height in zip(labels, heights):
        _annotate(axes, label, (1.05, height), "axes fraction")


def _label_exits(axes: "Axes", labels: list[_Label]) -> None:
    """Above a triangle where the curve leaves: a row each, the first to leave uppermost, so no line meets a label."""
    for row, label in enumerate(sorted(labels, key=lambda label: -label.x)):
        axes.plot(label.x, label.y, marker="^", markersize=9, color=label.color, clip_on=False, zorder=5)
        _annotate(axes, label, (label.x, 1.06 + LABEL_HEIGHT * row), ("data", "axes fraction"))


def _annotate(axes: "Axes", label: _Label, at: tuple[float, float], frame: str | tuple[str, str]) -> None:
    line = {"arrowstyle": "-", "color": label.color, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0, "relpos": (0, 0.5)}
    axes.annotate(
        f" {label.text}",
        (label.x, label.y),
        at,
        textcoords=frame,
        arrowprops=line,
        color=label.color,
        va="center",
        annotation_clip=False,
    )


def spread(positions: Sequence[float], *, gap: float) -> list[float]:
    """Ascending positions moved up, and down from 1, until none is nearer than `gap` to the next.

    >>> [round(position, 2) for position in spread([0.1, 0.1, 0.5, 0.97, 1.0], gap=0.1)]
    [0.1, 0.2, 0.5, 0.9, 1.0]
    """
    moved = list(positions)
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    return [min(position, 1 - gap * (len(moved) - 1 - i)) for i, position in enumerate(moved)]
