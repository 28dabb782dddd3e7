"""What a report shows where an image has one class: the share named right, and what is taken for what."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferkit.metrics import wilson_interval
from transferkit.ship.markup import bar, interval_kind, nearest, percent, section, shown, table
from transferkit.ship.mistakes import Case
from transferkit.ship.run_files import Prediction

MAX_MATRIX_CLASSES = 30  # a wider matrix no longer fits a screen; its largest cells are listed instead
MAX_PAIRS = 30


def brief(block: dict[str, Any]) -> str:
    """The score in a word."""
    return percent(block["accuracy"])


def headline(block: dict[str, Any], *, part: str) -> str:
    """The score, large, with its interval and what the commonest class and the most similar image would reach."""
    accuracy, n = block["accuracy"], int(block["n"])
    low, high = block.get("interval") or wilson_interval(round(accuracy * n), n)
    images = [sum(row) for row in block["confusion"]]
    beside = block.get("baselines") or {"commonest": {"accuracy": max(images) / max(1, sum(images))}}
    commonest = beside["commonest"]["accuracy"]
    return (
        f"<h1><strong>{percent(accuracy)}</strong> of {n:,} {part} images named correctly</h1>"
        f'<div class="scale" aria-hidden="true"><i style="left:{low:.2%};width:{high - low:.2%}"></i>'
        f'<b class="chance" style="left:{commonest:.2%}"></b><b style="left:{accuracy:.2%}"></b></div>'
        f'<p class="lead">95 % interval {100 * low:.1f} to {percent(high)} ({interval_kind(block)}). '
        f"Always naming the commonest class would score {percent(commonest)}{nearest(beside)}.</p>"
    )


def tables(block: dict[str, Any], classes: Sequence[str], *, part: str) -> list[str]:
    """What is taken for what, and the scores of every class."""
    confusion = np.array(block["confusion"], dtype=np.int64)
    return [_confusions(confusion, classes, part=part), _per_class(confusion, classes)]


def mistakes(predictions: Sequence[Prediction], classes: Sequence[str], *, part: str) -> tuple[list[Case], str]:
    """The images named wrong, and how many they are, in words."""
    found = [
        Case(path, f"{said} {percent(p)}", f"is {true}", p, said)
        for path, true, said, (p,) in predictions
        if true != said
    ]
    return found, f"{len(found):,} of {len(predictions):,} {part} images are wrong"


def uncertain(predictions: Sequence[Prediction], block: dict[str, Any], classes: Sequence[str]) -> list[Case]:
    """All images, by how improbable the answer was."""
    return [
        Case(path, f"{said} {percent(p)}", "is right" if true == said else f"is {true}", 1 - p, said, true == said)
        for path, true, said, (p,) in predictions
    ]


def _confusions(confusion: np.ndarray, classes: Sequence[str], *, part: str) -> str:
    """What is taken for what: the whole matrix of counts where it fits, else the largest wrong cells."""
    if len(classes) > MAX_MATRIX_CLASSES:
        return _pairs(confusion, classes)
    return _matrix(confusion, classes, part=part)


def _matrix(confusion: np.ndarray, classes: Sequence[str], *, part: str) -> str:
    """The counts as a table, each cell shaded by its share of the true class."""
    shares = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))  # (K, K)
    head = "".join(f'<th scope="col" title="{shown(name)}">{shown(name)}</th>' for name in classes)
    rows = []
    for true, name in enumerate(classes):
        cells = "".join(_cell(confusion[true, said], shares[true, said], true == said) for said in range(len(classes)))
        rows.append(f'<tr><th scope="row" title="{shown(name)}">{shown(name)}</th>{cells}</tr>')
    kind = "matrix dense" if len(classes) > 12 else "matrix"
    matrix = f'<table class="{kind}"><thead><tr><th>true</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    lead = f"A row is a true class, a column what the network said of its {part} images. Blue is right, orange wrong."
    return section("What is taken for what", f'<div class="scroll">{matrix}</div>', lead=lead)


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
            percent(wrong[true, said] / confusion[true].sum()),
        )
        for true, said in zip(*np.unravel_index(order, wrong.shape))
        if wrong[true, said]
    ]
    lead = f"The {len(rows)} commonest mistakes among {len(classes)} classes."
    return section(
        "What is taken for what", table(("True", "Said", "Images", "Of that class"), rows, text=2), lead=lead
    )


def _per_class(confusion: np.ndarray, classes: Sequence[str]) -> str:
    """Recall, precision and F1 of every class, lowest recall first."""
    hits, true, said = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    recall = [hit / n if n else None for hit, n in zip(hits, true)]
    precision = [hit / n if n else None for hit, n in zip(hits, said)]
    f1 = [2 * hit / (there + named) if there else None for hit, there, named in zip(hits, true, said)]
    order = sorted(range(len(classes)), key=lambda k: (recall[k] is None, recall[k], classes[k]))
    rows = [(shown(classes[k]), f"{true[k]:,}", bar(recall[k]), percent(precision[k]), percent(f1[k])) for k in order]
    lead = (
        "Recall: share of a class that is found. Precision: share of its name that is right. F1: their harmonic mean. "
        "Lowest recall first."
    )
    return section("Class by class", table(("Class", "Images", "Recall", "Precision", "F1"), rows, text=1), lead=lead)
