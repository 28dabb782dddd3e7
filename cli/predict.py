"""transferkit predict"""

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import click

from transferkit.choices import MAX_ERROR
from transferkit.cli import options, render, streams
from transferkit.data import tree
from transferkit.data.cells import defused
from transferkit.zoo.errors import DataError, UsageError
from transferkit.zoo.text import printable

if TYPE_CHECKING:
    from transferkit.ship.classifier import Prediction

MAX_TOP = 10_000  # columns of a CSV


@click.command()
@click.argument("model", metavar="RUN_OR_MODEL")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--top",
    type=click.IntRange(1, MAX_TOP),
    help="How many classes to list.  [default: 1; of a multi-label classifier, all above their thresholds]",
)
@click.option(
    "--format",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="json: one object a line.",
)
@click.option(
    "--max-error",
    type=click.FloatRange(0, 1),
    default=MAX_ERROR,
    show_default=True,
    help="Share of the answers given that may be wrong; the less, the more photos are not sure.",
)
@click.option("--no-abstain", is_flag=True, help="Name every photo, whether the answer is sure or not.")
@options.declared("bit_depth")
@options.declared("device")
@options.debug_option
def predict(model: str, paths: tuple[str, ...], top: int | None, format: str, max_error: float, no_abstain: bool,
            bit_depth: int | None, device: str | None) -> None:  # fmt: skip
    """Say what is on each photo.

    PATH is an image, a folder (with all folders in it), or a pattern such as 'new/*.jpg'. An unreadable file is
    listed with the reason and stops nothing.

    "not sure" is a photo with an answer of a kind that is wrong too often; "unlike anything seen" one that resembles no
    photo that the classifier was trained on. The best answer stands beside it.

    \b
    Examples:
      transferkit predict runs/photos-1 new.jpg
      transferkit predict runs/photos-1 holiday/ --top 3 --format csv > holiday.csv
      transferkit predict runs/photos-1 holiday/ --max-error 0.01
    """
    from transferkit.ship.classifier import load

    _check(paths)
    writer = {"table": _write_table, "csv": _write_csv, "json": _write_json}[format]
    counts = {"read": 0, "refused": 0}

    def counted(predictions: "Iterable[Prediction]") -> "Iterator[Prediction]":
        for prediction in predictions:
            counts["refused" if prediction.fault else "read"] += 1
            yield prediction

    classifier = load(model, device=device or "auto", bit_depth=bit_depth)
    names_one = classifier.task.names_one
    top = min(top or int(names_one), len(classifier.classes))
    files = chain.from_iterable(map(tree.files, paths))
    predictions = classifier.stream(files, top=max(1, top), max_error=max_error)
    if no_abstain:
        predictions = (replace(each, is_sure=None, is_familiar=None) for each in predictions)
    writer(counted(predictions), top, names_one)
    if words := classifier.depth_words(counts["read"]):
        render.say(words, err=True)
    if counts["refused"]:
        click.echo(f"{counts['refused']} of {sum(counts.values())} files could not be read", err=True)
    if not counts["read"]:
        raise DataError("no image could be read" if counts["refused"] else f"no files in {', '.join(paths)}")


def _check(paths: tuple[str, ...]) -> None:
    for path in paths:
        if not os.path.lexists(path) and next(tree.files(path), None) is None:
            tree.refuse_url(path)
            raise UsageError(f"no such file or folder: {path}")


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
        value: dict = {"path": printable(prediction.source)}
        if prediction.fault:
            value["fault"] = prediction.fault
        else:
            if names_one:
                value |= {"label": prediction.label, "probability": prediction.probability}
            else:
                value["labels"] = [{"label": label, "probability": p} for label, p in prediction.labels]
            known = ((name, getattr(prediction, name)) for name in ("is_sure", "is_familiar", "trained_on"))
            value |= {name: answer for name, answer in known if answer is not None}
            if top:
                value["top"] = [{"label": label, "probability": p} for label, p in prediction.top[:top]]
        render.data(value)
