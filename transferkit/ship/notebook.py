"""What a notebook shows of a run and of a prediction: HTML that stands alone, in light and dark."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transferkit import tasks
from transferkit.ship.markup import duration, percent, shown
from transferkit.ship.mistakes import THUMBNAIL_PX, thumbnail
from transferkit.ship.sources import Source, content_of
from transferkit.zoo.errors import TransferkitError

MOST = 10  # classes that have a bar
CELL = 'style="text-align:left;vertical-align:top;padding:2px 12px 2px 0;border:0;background:none"'
TRACK = "display:inline-block;vertical-align:middle;width:120px;height:8px;border-radius:4px;background:#8080804d"
FILLED = "display:block;height:8px;border-radius:4px;background:rgb(40 134 200)"  # 3:1 or more on black and on white


def run_html(folder: Path, metrics: dict[str, Any]) -> str:
    """The summary of a run: what was trained, how good it is, where the report lies."""
    task = tasks.of_scores(metrics)
    chosen = f", which chose: {metrics['chosen']}" * (metrics["chosen"] != metrics["strategy"])
    facts = {
        "run": str(folder),
        "backbone": metrics["backbone"],
        "strategy": metrics["strategy"] + chosen,
        "classes": ", ".join(metrics["classes"][:MOST]) + ", ..." * (len(metrics["classes"]) > MOST),
        "how": "; ".join(metrics.get("notes", ())),
        "validation": tasks.score_line(task, metrics["val"]),
        "test": tasks.score_line(task, metrics["test"]) if metrics.get("test") else "",
        "took": duration(metrics["seconds"]["total"]),
        "report": str(folder / "report.html"),
    }
    rows = "".join(
        f"<tr><th {CELL}>{name}</th><td {CELL}>{shown(value)}</td></tr>" for name, value in facts.items() if value
    )
    return f'<table style="border-collapse:collapse;color:inherit;max-width:60em">{rows}</table>'


def prediction_html(
    source: Source, listed: Sequence[tuple[str, float]], *, fault: str | None, doubt: str, trained_on: bool | None
) -> str:
    """The photo with a bar for each class that is listed, and what speaks against it; or why it could not be read."""
    bars = "".join(
        f'<tr><td {CELL}>{shown(name)}</td><td {CELL}><span style="{TRACK}"><span style="{FILLED};width:{p:.1%}">'
        f"</span></span></td><td {CELL}>{percent(p)}</td></tr>"
        for name, p in listed[:MOST]
    )
    if fault:
        said = f"<div>unreadable: {shown(fault)}</div>"
    else:
        said = f"<table style='border-collapse:collapse;color:inherit'>{bars}</table>" if bars else "<div>none</div>"
    if doubt:
        said = f"<div><strong>{doubt}</strong></div>{said}"
    if trained_on:
        said += "<div>The run was fitted to this photo.</div>"
    picture = "" if fault else f'<div style="width:{THUMBNAIL_PX}px">{_picture(source)}</div>'
    return (
        f'<div style="display:flex;gap:16px;align-items:center;color:inherit">{picture}'
        f'<div><div style="overflow-wrap:anywhere">{shown(_name(source))}</div>{said}</div></div>'
    )


def _picture(source: Source) -> str:
    """The photo, small; words where it cannot be read again, as of an open file that cannot go back to its start."""
    try:
        if hasattr(source, "read") and (seek := getattr(source, "seek", None)):
            seek(0)
        return thumbnail(content_of(source))
    except (TransferkitError, OSError, ValueError):  # ValueError: the file is closed
        return "cannot be read"


def _name(source: Source) -> str:
    """A word for the source: the name of a file, else what it is."""
    if isinstance(source, (str, Path)):
        return Path(source).name
    shape = getattr(source, "shape", None)
    return type(source).__name__ + (f" of {' x '.join(map(str, shape))}" if shape is not None else "")
