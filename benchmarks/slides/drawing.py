"""One style for all figures: lines told apart by colour, dash and marker, each labelled where it ends."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from transferkit.ship.curves import BLUE, GREY, INK, STYLE, VERMILION
from transferkit.zoo.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from slides.small import Trained

DPI = 120
COLOURS = 64  # of the palette: a third of the bytes, and no difference that one sees
LABEL_HEIGHT = 0.085  # of the axes
GREEN, PURPLE, ORANGE, SKY = "#009E73", "#CC79A7", "#E69F00", "#56B4E9"  # the rest of Okabe and Ito 2008
LINES = (
    {"color": BLUE, "linestyle": "-", "marker": "o"},
    {"color": VERMILION, "linestyle": "--", "marker": "s"},
    {"color": GREEN, "linestyle": "-.", "marker": "^"},
    {"color": INK, "linestyle": ":", "marker": "D"},
    {"color": PURPLE, "linestyle": (0, (5, 1)), "marker": "v"},
    {"color": GREY, "linestyle": (0, (3, 1, 1, 1)), "marker": "P"},
    {"color": ORANGE, "linestyle": (0, (1, 1)), "marker": "X"},
)


@contextmanager
def picture(path: Path, *, panels: int = 1, size: tuple[float, float] = (9, 3.6)) -> "Iterator[np.ndarray]":
    """Axes side by side to draw on; what was drawn is in the PNG file `path` afterwards."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE | {"font.size": 11, "lines.linewidth": 1.8, "lines.markersize": 5}):
        figure = Figure(figsize=size, layout="constrained")
        figure.get_layout_engine().set(wspace=0.06)
        yield np.atleast_1d(figure.subplots(1, panels))
        save(figure, path)


def save(figure: "Figure", path: Path, *, dpi: int = DPI) -> None:
    """Write the figure as a PNG of few colours."""
    from matplotlib import rc_context

    drawn, small = io.BytesIO(), io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(drawn, format="png", dpi=dpi)
    Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    write_bytes(path, small.getvalue())


def label_ends(axes: "Axes") -> None:
    """Each labelled line gets its label right of the axes, at or near the height of its end, and a thin line to it."""
    axes.figure.draw_without_rendering()  # until then the limits and the layout are not settled
    to_axes = axes.transData + axes.transAxes.inverted()
    lines = [line for line in axes.lines if not line.get_label().startswith("_")]
    ends = [to_axes.transform((line.get_xdata()[-1], line.get_ydata()[-1])).clip(0, 1) for line in lines]
    order = sorted(range(len(ends)), key=lambda i: (ends[i][1], ends[i][0]))
    for i, height in zip(order, apart([ends[i][1] for i in order], gap=LABEL_HEIGHT)):
        color = lines[i].get_color()
        thin = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3, "relpos": (0, 0.5)}
        places = {"xy": ends[i], "xycoords": "axes fraction", "xytext": (1.04, height), "textcoords": "axes fraction"}
        look = {"color": color, "va": "center", "fontsize": 10}
        axes.annotate(lines[i].get_label(), **places, **look, arrowprops=thin, annotation_clip=False)


def apart(positions: list[float], *, gap: float) -> list[float]:
    """Ascending positions in 0..1 no nearer than `gap`: those that would meet stand in a row around their middle.

    >>> [round(position, 3) for position in apart([0.0, 0.5, 0.5, 0.9], gap=0.1)]
    [0.0, 0.45, 0.55, 0.9]
    """
    rows = []  # of how many, and around what middle
    for position in positions:
        count, middle = 1, position
        while rows and middle - rows[-1][1] < gap * (count + rows[-1][0]) / 2:
            before, other = rows.pop()
            middle = (before * other + count * middle) / (before + count)
            count += before
        half = gap * (count - 1) / 2
        rows.append((count, min(max(middle, half), 1 - half)))
    return [middle + gap * (i - (count - 1) / 2) for count, middle in rows for i in range(count)]


def bars(axes: "Axes", groups: dict[str, dict[str, list[float]]]) -> None:
    """For each group a dot a seed and a line at their mean, one column a kind: `groups[group][kind]` are the values."""
    styles = LINES[: len(next(iter(groups.values())))]
    for place, (_, kinds) in enumerate(groups.items()):
        for number, ((kind, values), style) in enumerate(zip(kinds.items(), styles)):
            x = place + 0.22 * (number - (len(kinds) - 1) / 2)
            look = {"color": style["color"], "marker": style["marker"], "linestyle": "none"}
            axes.plot([x] * len(values), values, label=kind if place == 0 else None, markerfacecolor="none", **look)
            axes.plot([x - 0.1, x + 0.1], [np.mean(values)] * 2, color=style["color"], linewidth=2.4)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.6, len(groups) - 0.4)
    if len(styles) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(styles))


def gaps(axes: "Axes", runs: dict[str, list["Trained"]]) -> None:
    """The accuracy of every run on its training images beside that on held-out ones, one place a way of training."""
    bars(
        axes,
        {
            name: {
                "training images": [run.train_accuracy for run in found],
                "held-out images": [run.accuracy for run in found],
            }
            for name, found in runs.items()
        },
    )
    axes.set_ylabel("accuracy")
    in_percent(axes)


def in_percent(axes: "Axes") -> None:
    """Shares on the y axis read as percentages."""
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g} %")
