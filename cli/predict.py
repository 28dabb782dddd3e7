"""transferkit predict"""

import csv
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from transferkit.choices import MAX_ERROR
from transferkit.cli import options, render, streams
from transferkit.data import tree
from transferkit.data.cells import defused
from transferkit.zoo.errors import DataError, UsageError
from transferkit.zoo.files import check_free
from transferkit.zoo.text import printable

if TYPE_CHECKING:
    from transferkit.ship.classifier import Prediction

MAX_TOP = 10_000  # columns of a CSV
STDIN = "-"  # paths are read from there
SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "json"}


@click.command()
@click.argument("model", metavar="RUN_OR_MODEL", shell_complete=options.paths)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, shell_complete=options.paths)
@click.option(
    "--top",
    type=click.IntRange(1, MAX_TOP),
    help="How many classes to list.  [default: 1; of a multi-label classifier, all above their thresholds]",
)
@click.option(
    "--format",
    type=click.Choice(["table", "csv", "json"]),
    help="json: one object a line.  [default: what the name in -o ends in; else table]",
)
@click.option("-o", "--out", metavar="FILE", help="Write the answers there, whole or not at all, not to stdout.")
@click.option("--overwrite", is_flag=True, help="Replace the file in -o.")
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
@options.quiet_option
@options.debug_option
def predict(model: str, paths: tuple[str, ...], top: int | None, format: str | None, out: str | None, overwrite: bool,
            max_error: float, no_abstain: bool, bit_depth: int | None, device: str | None,
            quiet: bool) -> None:  # fmt: skip
    """Say what is on each photo.

    PATH is an image, a folder (with all folders in it), or a pattern such as 'new/*.jpg'; - reads paths from stdin, one
    a line. An unreadable file is listed with the reason and stops nothing.

    "not sure" is a photo with an answer of a kind that is wrong too often; "unlike anything seen" one that resembles no
    photo that the classifier was trained on. The best answer stands beside it.

    \b
    Examples:
      transferkit predict runs/photos-1 new.jpg
      transferkit predict runs/photos-1 holiday/ --top 3 -o holiday.csv
      find . -name '*.jpg' -newer last.csv | transferkit predict runs/photos-1 - -o new.csv
      transferkit predict runs/photos-1 holiday/ --max-error 0.01
    """
    from transferkit.ship.classifier import load

    _check(paths)
    target = Path(out).expanduser() if out else None
    if target:
        check_free(target, overwrite=overwrite, sources=map(Path, paths))
    writer = WRITERS[format or SUFFIXES.get(target.suffix.lower() if target else "", "table")]
    counts, listed = {"read": 0, "refused": 0}, sys.stdin.read().splitlines() if STDIN in paths else []
    is_told = not quiet and sys.stderr.isatty() and (target is not None or not sys.stdout.isatty())
    progress = render.progress_for(quiet=not is_told)

    def counted(predictions: "Iterable[Prediction]") -> "Iterator[Prediction]":
        for prediction in predictions:
            counts["refused" if prediction.fault else "read"] += 1
            progress.advance(1)
            yield prediction

    classifier = load(model, device=device or "auto", bit_depth=bit_depth)
    names_one = classifier.task.names_one
    top = min(top or int(names_one), len(classifier.classes))
    if is_told:
        progress.start("predicting", sum(1 for _ in _files(paths, listed)))
    predictions = classifier.stream(_files(paths, listed), top=max(1, top), max_error=max_error)
    if no_abstain:
        predictions = (replace(each, is_sure=None, is_familiar=None) for each in predictions)
    with streams.into(target):
        writer(counted(predictions), top, names_one)
    progress.finish()
    if words := classifier.depth_words(counts["read"]):
        render.say(words, err=True)
    if counts["refused"]:
        click.echo(f"{counts['refused']} of {sum(counts.values())} files could not be read", err=True)
    if not counts["read"]:
        raise DataError("no image could be read" if counts["refused"] else f"no files in {', '.join(paths)}")
    if target:
        render.say(f"{sum(counts.values()):,} answers are in {target}", err=True)


def _files(paths: tuple[str, ...], listed: list[str]) -> Iterator[str]:
    """Every file that is meant. Args: listed, what stands for `STDIN` among the paths."""
    for path in paths:
        if path == STDIN:
            yield from filter(None, listed)
        else:
            yield from tree.files(path)


def _check(paths: tuple[str, ...]) -> None:
    for path in paths:
        if path != STDIN and not os.path.lexists(path) and next(tree.files(path), None) is None:
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


WRITERS = {"table": _write_table, "csv": _write_csv, "json": _write_json}
