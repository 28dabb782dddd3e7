"""Pictures of a training: loss, accuracy and learning rate over the epochs, or over the L2 of a probe."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.metrics import CALIBRATED, best_line, deciding
from transferkit.ship import run_files
from transferkit.zoo.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Line = dict[str, Any]  # of metrics.jsonl

WIDTH_PX = 1600  # of a PNG: sharp in print
INK, GREY = "#191c22", "#5b6472"
BLUE, VERMILION = "#0072B2", "#D55E00"  # of Okabe and Ito 2008; every kind of colour blindness tells them apart
MEASURED = {"linewidth": 2, "markersize": 6}
# told apart by dash and marker as well as by colour
TRAIN: dict[str, Any] = MEASURED | {"color": VERMILION, "linestyle": "--", "marker": "s", "markerfacecolor": "white"}
VAL: dict[str, Any] = MEASURED | {"color": BLUE, "linestyle": "-", "marker": "o"}
RANKED: dict[str, Any] = MEASURED | {"color": INK, "linestyle": ":", "marker": "^"}
SOFTENED: dict[str, Any] = MEASURED | {"color": BLUE, "linestyle": ":", "marker": "^", "markerfacecolor": "white"}
MAX_MARKERS = 25  # on a curve; more of them hide its dashes
MAX_NUMBERS = 12  # of snapshots on a curve
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 12,  # on a figure of 5 inches, which a phone shows at two thirds
    "svg.fonttype": "none",  # text stays text: half the size, and it can be searched
    "svg.hashsalt": "transferkit",  # the same curves give the same bytes
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a93a3",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ee",
    "legend.frameon": False,
}


def read(run: Path) -> list[Line]:
    """The lines of RUN/metrics.jsonl; none if it is absent. Raises: ModelFileError, StorageError."""
    return run_files.read_lines(run)


def write(run: Path, figures: "dict[str, Figure]") -> None:
    """Write RUN/curves.png, the last of what `draw` gives: the epochs, or where there are none the probe.

    Raises: StorageError.
    """
    if figures:
        write_bytes(run / "curves.png", png([*figures.values()][-1]))


def draw(lines: Sequence[Line], *, chosen: str | None) -> "dict[str, Figure]":
    """Figures by caption: of the L2 of a probe, then of the epochs, as far as the lines have them.

    Args: chosen, which snapshots were, as metrics.json says it.
    """
    from matplotlib import rc_context

    probes: dict[str, dict[float, Line]] = {}  # by network, where several lie side by side, and L2
    for line in lines:
        if line["phase"] == "probe":  # a sample's gives way to that of all images
            probes.setdefault(line.get("network", ""), {})[line["l2"]] = line
    epochs = [line for line in lines if line["phase"] != "probe"]
    figures = {}
    with rc_context(STYLE):
        for network, fits in probes.items():
            of = f" of {network}" if network else ""
            figures[f"Loss and accuracy over the L2 of the probe{of}"] = _draw_probe([fits[l2] for l2 in sorted(fits)])
        if epochs:
            figures["Loss, accuracy and learning rate over the epochs"] = _draw_epochs(epochs, chosen)
    return figures


def svg(figure: "Figure") -> str:
    """The figure as an <svg> element."""
    text = _print(figure, "svg", metadata={"Date": None}).decode()
    return text[text.index("<svg") :]


def png(figure: "Figure") -> bytes:
    """The figure as a PNG file."""
    return _print(figure, "png", dpi=WIDTH_PX / figure.get_figwidth(), metadata={"Software": None})


def _print(figure: "Figure", format: str, **options: Any) -> bytes:
    from matplotlib import rc_context

    file = io.BytesIO()
    with rc_context(STYLE):
        if engine := figure.get_layout_engine():  # half the time of a picture; done once for the SVG and the PNG
            engine.execute(figure)
            figure.set_layout_engine(None)
        figure.savefig(file, format=format, **options)
    return file.getvalue()


def _draw_probe(lines: list[Line]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.8), layout="constrained")
    panels = figure.subplots(2, sharex=True)
    x = [line["l2"] for line in lines]
    _draw_scores(panels, x, lines)
    _mark_best(panels, x, lines, name="L2")
    if len(x) == 1:  # matplotlib has no room around a single point
        panels[-1].set_xlim(x[0] / 2, 2 * x[0] or 1)
    if min(x) > 0:
        panels[-1].set_xscale("log")
        panels[-1].minorticks_off()
        panels[-1].xaxis.set_major_formatter("{x:g}")  # as the legend has it; powers of ten take time to set
        if len(x) < 4:  # there may be one power of ten among them, or none
            panels[-1].set_xticks(x)
    panels[-1].set_xlabel("L2 of the probe")
    _add_legend(figure)
    return figure


def _draw_epochs(lines: list[Line], chosen: str | None) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(5, 6.4), layout="constrained")
    panels = figure.subplots(3, sharex=True, height_ratios=(3, 3, 2))
    x = [line["epoch"] + 1 for line in lines]
    snapshots = [line for line in lines if "snapshot" in line]
    _draw_scores(panels[:2], x, lines)
    if not snapshots:  # a run in cycles keeps their ends, whichever epoch was best
        _mark_best(panels[:2], x, lines, name="epoch")
    _draw_rate(panels[2], lines)
    for panel in panels:
        for number, line in enumerate(line for line in snapshots if line["epoch"] + 1 < max(x)):
            label = None if number else "restart"
            panel.axvline(line["epoch"] + 1, color=GREY, linewidth=0.8, zorder=1, label=label)
    for panel, measure in zip(panels, ("loss", "accuracy")):
        _mark_snapshots(panel, snapshots, chosen, measure=measure)
    panels[-1].set_xlim(0, 1.02 * max(x))
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=(1, 2, 5, 10)))
    panels[-1].set_xlabel("epoch")
    _add_legend(figure)
    return figure


def _draw_scores(panels: "Sequence[Axes]", x: list[float], lines: list[Line]) -> None:
    """Loss and accuracy of training and validation over x."""
    every = math.ceil(len(x) / MAX_MARKERS)
    for panel, measure in zip(panels, ("loss", "accuracy")):
        for part, label, style in (("train", "training", TRAIN), ("val", "validation", VAL)):
            panel.plot(x, [line[part][measure] for line in lines], label=label, markevery=every, **style)
        panel.set_ylabel(measure)
    if deciding(lines) == CALIBRATED:
        calibrated = [line["val"][CALIBRATED] for line in lines]
        panels[0].plot(x, calibrated, label="validation, calibrated", markevery=every, **SOFTENED)
    if all("mAP" in line["val"] for line in lines):
        panels[1].plot(x, [line["val"]["mAP"] for line in lines], label="validation mAP", markevery=every, **RANKED)
        panels[1].set_ylabel("all labels right")
    panels[1].yaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g} %")


def _mark_best(panels: "Sequence[Axes]", x: list[float], lines: list[Line], *, name: str) -> None:
    """Rings around the least loss that decides, of equal ones that of the highest accuracy, and that accuracy.

    A run that has kept the last epoch, whichever validated best, has them there.
    """
    loss, best = deciding(lines), best_line(lines)
    kept = lines[-1].get("best", best)
    word = "best" if kept == best else "kept"
    for panel, measure in zip(panels, (loss, "accuracy")):
        panel.axvline(x[kept], color=INK, linewidth=1.4, linestyle=":", zorder=1)
        ring = {"marker": "o", "markersize": 18, "markerfacecolor": "none", "markeredgewidth": 1.4, "clip_on": False}
        label = f"{word} {name}: {x[kept]:g}"
        panel.plot(x[kept], lines[kept]["val"][measure], color=INK, linestyle=":", label=label, zorder=4, **ring)


def _draw_rate(panel: "Axes", lines: list[Line]) -> None:
    """The learning rate, at several points of each epoch where they were recorded, else at its end."""
    x, y = [], []
    for line in lines:
        rates = line.get("lrs") or [line["lr"]]
        x += [line["epoch"] + (point + 1) / len(rates) for point in range(len(rates))]
        y += rates
    panel.plot(x, y, color=INK, linewidth=2, marker="." if len(x) == 1 else None)
    panel.set_ylim(0, 1.1 * max(y))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.set_ylabel("learning rate")


def _mark_snapshots(panel: "Axes", snapshots: list[Line], chosen: str | None, *, measure: str) -> None:
    """A disc with the number of the snapshot on the validation curve: black for one that was kept, else white."""
    every = math.ceil(len(snapshots) / MAX_NUMBERS)
    told = set()  # each kind stands in the legend once
    for line in snapshots[::-every] if snapshots else []:
        at = line["epoch"] + 1, line["val"][measure]
        is_kept = chosen == "ensemble" or (chosen == "single" and line is snapshots[-1])
        name = "snapshot kept" if is_kept else "snapshot"
        disc = {"marker": "o", "markersize": 13, "color": INK, "linestyle": "none", "zorder": 5, "clip_on": False}
        label = None if name in told else name
        panel.plot(*at, label=label, markerfacecolor=INK if is_kept else "white", **disc)
        told.add(name)
        ink = "white" if is_kept else INK
        text = {"ha": "center", "va": "center_baseline", "color": ink, "fontsize": 9, "fontweight": "bold"}
        panel.annotate(line["snapshot"], at, zorder=6, **text)


def _add_legend(figure: "Figure") -> None:
    """One legend above the panels for all of them."""
    figure.align_ylabels()
    told = {label: handle for axes in figure.axes[:2] for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(
        told.values(),
        told.keys(),
        loc="outside upper center",
        ncols=2,
        columnspacing=1.4,
        handletextpad=0.5,
        fontsize=11,
    )
