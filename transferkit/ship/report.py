"""The report of a run: one HTML file that a person reads, sends and prints, with nothing beside it.

Every name in it (files, classes, reasons) comes from a stranger's disk, so each goes through `shown`.
"""

import base64
import csv
import html
import io
import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from transferkit.data.decode import DecodeError, decode
from transferkit.metrics import wilson_interval
from transferkit.ship import curves
from transferkit.ship.model_card import printable
from transferkit.zoo.files import read_json, write_text

MAX_MATRIX_CLASSES = 30  # a wider matrix no longer fits a screen; its largest cells are listed instead
MAX_PAIRS = 30
MAX_MISTAKES = 24
MAX_LISTED = 100  # rows of files left out; the rest stands in quarantine.csv and run.json
THUMBNAIL_PX = 160

Prediction = tuple[str | Path, str, str, float]  # path, label, predicted, probability


def write(run: Path, *, predictions: Sequence[Prediction]) -> Path:
    """Write RUN/report.html from the files of a run and return its path.

    Args: predictions of the judged part, which is test where there is one, else validation; paths are opened as given.
    Raises: UsageError or ModelFileError if run.json or metrics.json is missing or damaged; StorageError.
    """
    record, scores = read_json(run / "run.json"), read_json(run / "metrics.json")
    part = "test" if scores.get("test") else "validation"
    block = scores["test"] if part == "test" else scores["val"]
    classes, confusion = scores["classes"], np.array(block["confusion"], dtype=np.int64)
    sections = [
        _facts(record, scores),
        _curves(run / "metrics.jsonl"),
        _confusion(confusion, classes, part=part) if len(classes) <= MAX_MATRIX_CLASSES else _pairs(confusion, classes),
        _per_class(confusion, classes),
        _mistakes(predictions, part=part),
        _left_out("Images refused", [(row["path"], row["reason"]) for row in _read_csv(run / "quarantine.csv")]),
        _left_out("Entries ignored", [tuple(entry) for entry in record["data"]["ignored"]]),
        _command(run, record),
    ]
    page = Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8")).substitute(
        title=f"{_percent(block['accuracy'])} {part} accuracy: {shown(run.resolve().name)}",
        run=f"transferkit report of {shown(run.resolve().name)}",
        headline=_headline(block, confusion, part=part, notes=scores.get("notes", ())),
        sections="\n".join(sections),
    )
    write_text(run / "report.html", page)
    return run / "report.html"


def shown(text: Any) -> str:
    """`text` as HTML that displays it and does nothing else.

    >>> shown("<b>\\x1b'")
    '&lt;b&gt;\\\\x1b&#x27;'
    """
    return html.escape(printable(str(text)))


def _headline(block: dict[str, Any], confusion: np.ndarray, *, part: str, notes: Iterable[str]) -> str:
    accuracy, n = block["accuracy"], int(block["n"])
    low, high = wilson_interval(round(accuracy * n), n)
    commonest = confusion.sum(axis=1).max() / max(1, confusion.sum())
    caution = (
        ""
        if part == "test"
        else "There was no test part. These images also chose the settings, so expect a little less."
    )
    remarks = "".join(f'<p class="note">{shown(note)}</p>' for note in (caution, *notes) if note)
    return (
        f"<h1><strong>{_percent(accuracy)}</strong> of {n:,} {part} images named correctly</h1>"
        f'<div class="scale" aria-hidden="true"><i style="left:{low:.2%};width:{high - low:.2%}"></i>'
        f'<b class="chance" style="left:{commonest:.2%}"></b><b style="left:{accuracy:.2%}"></b></div>'
        f'<p class="lead">95 % interval {100 * low:.1f} to {_percent(high)} (Wilson). '
        f"Always naming the commonest class would score {_percent(commonest)}.</p>{remarks}"
    )


def _facts(record: dict[str, Any], scores: dict[str, Any]) -> str:
    """What was trained, on what, with what."""
    images = record["data"]["images"]
    parts = ", ".join(f"{count:,} {shown(part)}" for part, count in images.items() if count)
    facts = [
        ("Backbone", shown(scores["backbone"])),
        ("Strategy", f"{shown(scores['strategy'])} <small>kept: {shown(scores['kept'])}</small>"),
        ("Images", f"{sum(images.values()):,} <small>{parts}</small>"),
        ("Classes", f"{len(scores['classes']):,}"),
        ("Took", _duration(scores["seconds"]["total"])),
    ]
    if scores.get("test"):
        facts.append(("Validation", f"{_percent(scores['val']['accuracy'])} <small>of {scores['val']['n']:,}</small>"))
    tiles = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    tools = {"seed": record["seed"], "threads": record["threads"]} | record["versions"]
    made_with = ", ".join(f"{shown(name)} {shown(value)}" for name, value in tools.items())
    tiles += f'<div class="wide"><dt>Made with</dt><dd>{made_with}</dd></div>'
    return _section("What was trained", "", f'<dl class="facts">{tiles}</dl>')


def _curves(path: Path) -> str:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    figures = [
        f'<figure><figcaption>{curve.title}</figcaption><img alt="{curve.title}" '
        f'src="data:image/svg+xml;base64,{base64.b64encode(curve.svg.encode()).decode()}"></figure>'
        for curve in curves.draw(lines)
    ]
    return _section("How it learned", "", f'<div class="curves">{"".join(figures)}</div>') if figures else ""


def _confusion(confusion: np.ndarray, classes: Sequence[str], *, part: str) -> str:
    """The counts as a table, each cell shaded by its share of the true class."""
    shares = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))  # (K, K)
    head = "".join(f'<th scope="col" title="{shown(name)}">{shown(name)}</th>' for name in classes)
    rows = []
    for true, name in enumerate(classes):
        cells = "".join(_cell(confusion[true, said], shares[true, said], true == said) for said in range(len(classes)))
        rows.append(f'<tr><th scope="row" title="{shown(name)}">{shown(name)}</th>{cells}</tr>')
    kind = "matrix dense" if len(classes) > 12 else "matrix"
    table = f'<table class="{kind}"><thead><tr><th>true</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    lead = f"A row is a true class, a column what the network said of its {part} images. Blue is right, orange wrong."
    return _section("What is taken for what", lead, f'<div class="scroll">{table}</div>')


def _cell(count: int, share: float, is_hit: bool) -> str:
    kind = "hit" if is_hit else "zero" if count == 0 else ""
    return f'<td class="{kind}" style="--share:{share:.2f}">{count}</td>'


def _pairs(confusion: np.ndarray, classes: Sequence[str]) -> str:
    """The largest wrong cells of a matrix too wide to show."""
    wrong = confusion * ~np.eye(len(classes), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_PAIRS]
    rows = [
        (
            shown(classes[true]),
            shown(classes[said]),
            str(wrong[true, said]),
            _percent(wrong[true, said] / confusion[true].sum()),
        )
        for true, said in zip(*np.unravel_index(order, wrong.shape))
        if wrong[true, said]
    ]
    lead = f"The {len(rows)} commonest mistakes among {len(classes)} classes."
    return _section("What is taken for what", lead, _table(("True", "Said", "Images", "Of that class"), rows, text=2))


def _per_class(confusion: np.ndarray, classes: Sequence[str]) -> str:
    """Recall and precision of every class, lowest recall first."""
    hits, true, said = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    recall = [hit / n if n else None for hit, n in zip(hits, true)]
    precision = [hit / n if n else None for hit, n in zip(hits, said)]
    order = sorted(range(len(classes)), key=lambda k: (recall[k] is None, recall[k], classes[k]))
    rows = [(shown(classes[k]), f"{true[k]:,}", _bar(recall[k]), _percent(precision[k])) for k in order]
    lead = "Recall: share of a class that is found. Precision: share of its name that is right. Lowest recall first."
    return _section("Class by class", lead, _table(("Class", "Images", "Recall", "Precision"), rows, text=1))


def _bar(share: float | None) -> str:
    bar = "" if share is None else f'<span class="bar"><i style="width:{share:.1%}"></i></span>'
    return bar + _percent(share)


def _mistakes(predictions: Sequence[Prediction], *, part: str) -> str:
    """The mistakes the network was surest of, as pictures."""
    wrong = [p for p in predictions if p[1] != p[2]]
    worst = sorted(wrong, key=lambda p: (-p[3], str(p[0])))[:MAX_MISTAKES]
    figures = "".join(
        f'<figure title="{shown(path)}"><div class="picture">{_thumbnail(path)}</div><figcaption>'
        f'<span class="said">{shown(said)} {_percent(probability)}</span><span>is {shown(true)}</span>'
        f'<span class="file">{shown(Path(path).name)}</span></figcaption></figure>'
        for path, true, said, probability in worst
    )
    count = f"{len(wrong):,} of {len(predictions):,} {part} images are wrong"
    lead = f"{count}; these {len(worst)} it was surest of. Look for wrong labels."
    return _section("The worst mistakes", lead, f'<div class="mistakes">{figures}</div>') if worst else ""


def _thumbnail(path: str | Path) -> str:
    """A small JPEG inside the page, or words on grey where the image cannot be read any more."""
    try:
        image = decode(path)
    except DecodeError:
        return "cannot be read"
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    image = ImageOps.scale(image, THUMBNAIL_PX // max(image.size), Image.Resampling.NEAREST)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=80)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}">'


def _left_out(title: str, entries: list[tuple[str, str]]) -> str:
    if not entries:
        return ""
    rows = [(shown(path), shown(reason)) for path, reason in entries[:MAX_LISTED]]
    lead = f"{len(entries):,} in all" + (f"; the first {MAX_LISTED} are listed." if len(entries) > MAX_LISTED else ".")
    return _section(title, lead, _table(("Path", "Reason"), rows, text=2))


def _command(run: Path, record: dict[str, Any]) -> str:
    program, *arguments = record["command"]
    command = shlex.join([Path(program).name, *arguments])
    again = shlex.join(["transferkit", "finetune", "--config", str(run / "run.json")])
    lead = "The command that was given, and the one that repeats it with every setting as it was."
    return _section("Run it again", lead, f"<pre>{shown(command)}</pre><pre>{shown(again)}</pre>")


def _section(title: str, lead: str, body: str) -> str:
    return f"<section><h2>{title}</h2>" + (f'<p class="lead">{lead}</p>' if lead else "") + f"{body}</section>"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], *, text: int) -> str:
    """A table of cells that are HTML already; the first `text` columns hold text, the rest numbers."""
    kinds = ["text" if column < text else "" for column in range(len(head))]
    top = "".join(f'<th scope="col" class="{kind}">{name}</th>' for name, kind in zip(head, kinds))
    body = "".join(
        "<tr>" + "".join(f'<td class="{kind}">{cell}</td>' for cell, kind in zip(row, kinds)) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table class="list"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _read_csv(path: Path) -> Iterable[dict[str, str]]:
    """The rows of one of the run's CSV files; none if it is absent."""
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}\u202f%"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
