"""transferkit predict"""

import os
import shlex
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from transferkit.cli import answers, options, render, streams
from transferkit.data import tree
from transferkit.progress import Progress
from transferkit.zoo.errors import DataError, UsageError
from transferkit.zoo.files import check_free

if TYPE_CHECKING:
    from transferkit.ship.classifier import Classifier, Prediction
    from transferkit.ship.sorting import Outcome, Sorter

MAX_TOP = 10_000  # columns of a CSV
STDIN = "-"  # paths are read from there


@click.command()
@click.argument("model", metavar="RUN_OR_MODEL", required=False, shell_complete=options.paths)
@click.argument("paths", metavar="PATH...", nargs=-1, shell_complete=options.paths)
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
@options.max_error_option
@options.no_abstain_option
@click.option(
    "--sort-into",
    metavar="OUT",
    shell_complete=options.paths,
    help="Put each photo into a folder of its class in OUT, those not sure into OUT/review.",
)
@click.option(
    "--by",
    type=click.Choice(["copy", "hardlink", "move"]),
    default="copy",
    show_default=True,
    help="How --sort-into does that.",
)
@click.option("--undo", metavar="OUT/undo.jsonl", shell_complete=options.paths, help="Take back what --sort-into did.")
@options.declared("bit_depth")
@options.declared("device")
@options.quiet_option
@options.debug_option
def predict(model: str | None, paths: tuple[str, ...], top: int | None, format: str | None, out: str | None,
            overwrite: bool, max_error: float | None, no_abstain: bool, sort_into: str | None, by: str,
            undo: str | None, bit_depth: int | None, device: str | None, quiet: bool) -> None:  # fmt: skip
    """Say what is on each photo.

    PATH is an image, its URL (http, https), a folder (with all folders in it), or a pattern such as 'new/*.jpg'; -
    reads paths from stdin, one a line. An unreadable file is listed with the reason and stops nothing.

    "not sure" is a photo with an answer of a kind that is wrong too often; "unlike anything seen" one that resembles no
    photo that the classifier was trained on. The best answer stands beside it.

    \b
    Examples:
      transferkit predict runs/photos-1 new.jpg https://host/other.jpg
      transferkit predict runs/photos-1 holiday/ --top 3 -o holiday.csv
      find . -name '*.jpg' -newer last.csv | transferkit predict runs/photos-1 - -o new.csv
      transferkit predict runs/photos-1 holiday/ --max-error 0.01 --sort-into sorted --by move
      transferkit predict --undo sorted/undo.jsonl
    """
    if undo:
        _undo(Path(undo).expanduser(), given=(model, *paths), quiet=quiet)
        return
    if model is None or not paths:
        raise UsageError("name a classifier and photos: transferkit predict RUN_OR_MODEL PATH...")
    from transferkit.ship.classifier import load

    _check(paths)
    target, into = (Path(path).expanduser() if path else None for path in (out, sort_into))
    if target:
        check_free(target, overwrite=overwrite, sources=map(Path, paths))
    form = format or answers.SUFFIXES.get(target.suffix.lower() if target else "", "table")
    is_printed = not target and (format or not into)
    is_told = not quiet and sys.stderr.isatty() and not (is_printed and sys.stdout.isatty())
    progress, counts = render.progress_for(quiet=not is_told), Counter()
    classifier = load(model, device=device or "auto", bit_depth=bit_depth)
    names_one = classifier.task.names_one
    top = min(top or int(names_one), len(classifier.classes))
    files = _files(paths, into)
    if into and not no_abstain and not classifier.artifact.sureness:
        render.say("nothing is put into review: this model does not know how often its answers are wrong", err=True)
    if is_told or into:  # all are known before the first is moved
        files = list(files)
        progress.start("predicting", len(files))
    predictions = classifier.stream(files, top=max(1, top), max_error=max_error)
    if no_abstain:
        predictions = (replace(each, is_sure=None, is_familiar=None) for each in predictions)
    with streams.into(target), _sorter(into, by, classifier) as sorter:
        predictions = _counted(predictions, counts, progress)
        if sorter:
            predictions = sorter.each(predictions)
        if is_printed or target:
            answers.WRITERS[form](predictions, top, names_one)
        else:
            deque(predictions, maxlen=0)
    progress.finish()
    if into and sorter:
        _show(sorter.outcome, into)
    if words := classifier.depth_words(counts["read"]):
        render.say(words, err=True)
    _say_read(counts, paths, target)


def _sorter(into: Path | None, how: str, classifier: "Classifier") -> "AbstractContextManager[Sorter | None]":
    """What sorts photos, if they are to be."""
    from transferkit.ship import sorting

    about = {"classes": classifier.classes, "names_one": classifier.task.names_one}
    return sorting.sorting(into, how=how, **about) if into else nullcontext()


def _counted(predictions: "Iterable[Prediction]", counts: Counter[str], progress: Progress) -> "Iterator[Prediction]":
    for prediction in predictions:
        counts["refused" if prediction.fault else "read"] += 1
        progress.advance(1)
        yield prediction


def _say_read(counts: Counter[str], paths: tuple[str, ...], target: Path | None) -> None:
    """Say how many were read, and where that is written. Raises: DataError if none could be."""
    if counts["refused"]:
        click.echo(f"{counts['refused']} of {counts.total()} files could not be read", err=True)
    if not counts["read"]:
        raise DataError("no image could be read" if counts["refused"] else f"no files in {', '.join(paths)}")
    if target:
        render.say(f"{counts.total():,} answers are in {target}", err=True)


def _show(outcome: "Outcome", into: Path) -> None:
    """Say where photos are now."""
    if outcome.counts:
        width = max(map(len, outcome.counts))
        for name, count in sorted(outcome.counts.items()):
            render.say(f"{name:<{width}}  {count:,}")
        render.say(f"undo  {shlex.join(['transferkit', 'predict', '--undo', str(into / 'undo.jsonl')])}")
    _say_left(outcome)


def _undo(journal: Path, *, given: tuple[str | None, ...], quiet: bool) -> None:
    if any(given):
        raise UsageError("--undo takes back what was done, and nothing beside it: give it alone")
    from transferkit.ship import sorting

    outcome = sorting.undo(journal, progress=render.progress_for(quiet=quiet))
    moved, made = outcome.counts["move"], outcome.counts["copy"] + outcome.counts["hardlink"]
    render.say(f"{moved:,} photos are where they were, {made:,} copies and links are removed")
    _say_left(outcome)


def _say_left(outcome: "Outcome") -> None:
    for path, reason in outcome.left:
        render.say(f"left: {path}: {reason}", err=True)


def _files(paths: tuple[str, ...], into: Path | None) -> Iterator[str]:
    """Every file that is meant, but those sorted before."""
    place = into.resolve() if into else None
    for path in paths:
        found = filter(None, sys.stdin.read().splitlines()) if path == STDIN else tree.files(path)
        yield from (each for each in found if place is None or place not in Path(each).resolve().parents)


def _check(paths: tuple[str, ...]) -> None:
    for path in paths:
        if path != STDIN and not os.path.lexists(path) and next(tree.files(path), None) is None:
            tree.refuse_url(path)
            raise UsageError(f"no such file or folder: {path}")
