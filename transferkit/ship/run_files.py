"""What is read back from a run's folder, checked against a schema: others may have written to it."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import convert

from transferkit.data import manifest
from transferkit.data.cells import original
from transferkit.ship.run_schema import SCORES, EpochLine, Given, ProbeLine, Record, Share
from transferkit.tasks import SINGLE_LABEL, Task
from transferkit.zoo import files, schema
from transferkit.zoo.errors import ModelFileError, UsageError

PREDICTIONS = "predictions.csv"
Prediction = tuple[str, str, str, list[float]]  # path, labels, predicted, probabilities

MAX_BYTES = 1 << 30  # of what grows with the epochs, the images and the square of the classes


def read_record(run: Path) -> dict[str, Any]:
    """The contents of RUN/run.json.

    Raises: UsageError if it is missing, StorageError if it cannot be read, ModelFileError if it is damaged.
    """
    return checked(run / "run.json", Record)


def read_given(run: Path) -> dict[str, Any]:
    """The options in RUN/run.json before defaults were filled in. Raises: as `read_record`."""
    return checked(run / "run.json", Given)["given"]


def read_scores(run: Path) -> dict[str, Any]:
    """The contents of RUN/metrics.json. Raises: as `read_record`."""
    path = run / "metrics.json"
    scores = _json(path)
    task = scores.get("task", SINGLE_LABEL.name) if isinstance(scores, dict) else ""
    _check(path, scores, SCORES.get(task if isinstance(task, str) else "", SCORES[SINGLE_LABEL.name]))
    count = len(scores["classes"])
    for block in filter(None, (scores["val"], scores.get("test"))):
        rows = [len(row) for row in block["confusion"]] if "confusion" in block else [count] * len(block["per_class"])
        if rows != [count] * count:
            raise ModelFileError(f"{path} is damaged: {count} classes, scores of another number")
    return scores


def read_lines(run: Path) -> list[dict[str, Any]]:
    """The lines of RUN/metrics.jsonl; none if it is absent. Raises: as `read_record`."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return []
    lines = [files.parse_json(line, path) for line in files.read_text(path, most=MAX_BYTES).split("\n") if line]
    for line in lines:
        is_probe = isinstance(line, dict) and line.get("phase") == "probe"
        _check(path, line, ProbeLine if is_probe else EpochLine)
    return lines


def read_rows(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """The rows of a CSV file with those columns and perhaps more after them, without its header; none if it is absent.

    Raises: StorageError, ModelFileError.
    """
    if not path.exists():
        return []
    try:
        rows = list(csv.reader(io.StringIO(files.read_text(path, most=MAX_BYTES), newline="")))
    except csv.Error as error:
        raise ModelFileError(f"{path} is damaged: {error}") from error
    if not rows or [*map(original, rows[0][: len(columns)])] != list(columns):
        raise ModelFileError(f"{path} is damaged: its first line is not {','.join(columns)}")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(rows[0]):
            raise ModelFileError(f"{path} is damaged: {len(row)} values in line {number}, not {len(rows[0])}")
    return [[original(cell) for cell in row] for row in rows[1:]]


def read_predictions(run: Path, task: Task, classes: Sequence[str]) -> list[Prediction]:
    """What was said of each judged image: path, labels, what was predicted, and probabilities, as the task has them.

    Raises: UsageError if the run has no such file; StorageError, ModelFileError.
    """
    path, columns = run / PREDICTIONS, task.prediction_columns(classes)
    if not path.exists():
        raise UsageError(f"{run} holds no finished run: {path} is missing")
    rows = read_rows(path, columns)
    try:
        return [(path, true, said, _shares(rest[: len(columns) - 3])) for path, true, said, *rest in rows]
    except ValueError as error:  # a ValidationError is one
        raise ModelFileError(f"{path} is damaged: {error}") from error


def _shares(cells: Sequence[str]) -> list[float]:
    return convert([float(cell) for cell in cells], list[Share])


def read_manifest(run: Path) -> list[list[str]]:
    """The rows of RUN/manifest.csv; those of an earlier form are left out. Raises: StorageError, ModelFileError."""
    return [row for row in read_rows(run / "manifest.csv", ("path",)) if len(row) >= 2 + len(manifest.COLUMNS)]


def judged_images(run: Path) -> list[str]:
    """The paths of the judged images; none where they are not known. Raises: StorageError, ModelFileError."""
    return [path for path, *_ in read_rows(run / PREDICTIONS, ("path",))]


def checked(path: Path, kind: type) -> dict[str, Any]:
    """The contents of a JSON file, which are of that kind. Raises: as `read_record`."""
    value = _json(path)
    _check(path, value, kind)
    return value


def _json(path: Path) -> Any:
    """The value in a JSON file of a run. Raises: as `read_record`."""
    if not path.parent.is_dir():
        from transferkit.model.build import missing_folder  # which imports torch

        raise UsageError(missing_folder(str(path.parent), what="run"))
    if not path.exists():
        raise UsageError(f"{path.parent} is no run, or not one that is finished: it has no {path.name}")
    return files.read_json(path, most=MAX_BYTES)


def _check(path: Path, value: Any, kind: type) -> None:
    try:
        schema.converted(value, kind)
    except ModelFileError as error:
        raise ModelFileError(f"{path} is damaged: {error}") from error
