"""The answers of a classifier as lines of a table, CSV or JSON."""

import csv
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from transferkit.cli import render, streams
from transferkit.data.cells import defused
from transferkit.zoo.text import printable

if TYPE_CHECKING:
    from transferkit.ship.classifier import Prediction

SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "json"}  # of files, and the format that they have


def _write_table(predictions: "Iterable[Prediction]", top: int, names_one: bool) -> None:
    for prediction in predictions:
        listed = prediction.top[:top] or prediction.labels
        said = "  ".join(f"{label} {probability:.3f}" for label, probability in listed) or "none"
        if prediction.doubt:
            said = f"{prediction.doubt} ({said})"
        if prediction.fault:
            said = f"unreadable: {prediction.fault}"
        render.say(f"{printable(prediction.source)}  {said}")


def _write_csv(predictions: "Iterable[Prediction]", top: int, names_one: bool) -> None:
    from transferkit.tasks.multi_label import BAR

    writer = csv.writer(streams.as_utf8(), lineterminator="\n")
    said = ["label", "probability"] if names_one else ["labels", "probabilities"]
    ranks = [f"{kind}{rank}" for rank in range(1 + names_one, top + 1) for kind in ("label", "probability")]
    writer.writerow(["path", *said, *ranks, "doubt", "fault"])
    for prediction in predictions:
        names, probabilities = [name for name, _ in prediction.labels], [f"{p:.6f}" for _, p in prediction.labels]
        cells = [BAR.join(names), BAR.join(probabilities)]
        cells += [cell for label, p in prediction.top[names_one:top] for cell in (label, f"{p:.6f}")]
        cells += [""] * (2 + len(ranks) - len(cells))
        row = [prediction.source, *cells, prediction.doubt, prediction.fault or ""]
        writer.writerow(defused(map(printable, row)))


def _write_json(predictions: "Iterable[Prediction]", top: int, names_one: bool) -> None:
    for prediction in predictions:
        listed = replace(prediction, top=prediction.top[:top])
        render.data(listed.as_json(names_one=names_one))


WRITERS = {"table": _write_table, "csv": _write_csv, "json": _write_json}
