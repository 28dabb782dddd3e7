"""Pictures of a training: loss and accuracy over the epochs, or over the L2 of a probe, as SVG text."""

import io
from dataclasses import dataclass
from typing import Any

TRAIN = {"color": "#D55E00", "linestyle": "--", "label": "training"}  # told apart by dash as well as by colour
VAL = {"color": "#0072B2", "linestyle": "-", "label": "validation"}
STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text: half the size, and it can be searched
    "svg.hashsalt": "transferkit",  # the same curves give the same bytes
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a93a3",
    "axes.grid": True,
    "grid.color": "#e6e9ee",
}


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One picture: what it shows in a few words, and its SVG text."""

    title: str
    svg: str


def draw(lines: list[dict[str, Any]]) -> list[Curve]:
    """Loss and accuracy over the L2 of a probe, and over the epochs, as far as the lines of metrics.jsonl have them."""
    probe = sorted((line for line in lines if line["phase"] == "probe"), key=lambda line: line["l2"])
    epochs = [line for line in lines if line["phase"] != "probe"]
    curves = []
    if probe:
        l2 = [line["l2"] for line in probe]
        curves += [_draw(probe, l2, measure=measure, axis="L2 of the probe") for measure in ("loss", "accuracy")]
    if epochs:
        count = list(range(1, len(epochs) + 1))
        curves += [_draw(epochs, count, measure=measure, axis="epoch") for measure in ("loss", "accuracy")]
    return curves


def _draw(lines: list[dict[str, Any]], x: list[float], *, measure: str, axis: str) -> Curve:
    """One measure of training and validation over x, with the lowest validation loss marked."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    best = min(range(len(lines)), key=lambda i: (lines[i]["val"]["loss"], -lines[i]["val"]["accuracy"]))
    with rc_context(STYLE):
        figure = Figure(figsize=(4.6, 2.7), layout="constrained")
        axes = figure.add_subplot()
        for part, style in (("train", TRAIN), ("val", VAL)):
            known = [i for i, line in enumerate(lines) if line.get(part)]
            if known and not (part == "train" and axis != "epoch"):
                y = [lines[i][part][measure] for i in known]
                axes.plot([x[i] for i in known], y, marker="o", markersize=3, linewidth=1.6, **style)
        axes.axvline(x[best], color="#5b6472", linewidth=0.8, linestyle=":", label="lowest validation loss")
        if axis == "epoch":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.set_xlim(0.5, len(x) + 0.5)
        elif min(x) > 0:
            axes.set_xscale("log")
        axes.set_xlabel(axis)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize=8)
        text = io.StringIO()
        FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None})
    picture = text.getvalue()
    return Curve(title=f"{measure.capitalize()} over {axis}", svg=picture[picture.index("<svg") :])
