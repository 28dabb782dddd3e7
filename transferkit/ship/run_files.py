"""What is read back from a run's folder, checked against a schema: others may have written to it."""

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError, convert

from transferkit.zoo.errors import ModelFileError, StorageError, UsageError
from transferkit.zoo.files import MAX_JSON_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

PREDICTIONS = "predictions.csv"
MAX_BYTES = 1 << 30  # of metrics.jsonl and the CSV files, which grow with the epochs and the images

Share = Annotated[float, Meta(ge=0, le=1)]
Finite = Annotated[float, Meta(ge=-1e30, le=1e30)]
Positive = Annotated[float, Meta(ge=0, le=1e30)]
Count = Annotated[int, Meta(ge=0, le=1 << 40)]
Number = Annotated[int, Meta(ge=1, le=1 << 40)]


class Images(Struct, forbid_unknown_fields=True):
    """How many images each part has, in run.json."""

    val: Count
    train: Count = 0
    test: Count = 0


class Data(Struct):
    """Of run.json: the images."""

    images: Images
    ignored: list[tuple[str, str]]
    fingerprint: str = ""
    source: str = ""


class Config(Struct):
    """Of the options in run.json, what the report shows."""

    precision: str
    bit_depth: Annotated[int, Meta(ge=1, le=16)] | None = None


class Record(Struct):
    """run.json."""

    config: Config
    command: Annotated[list[str], Meta(min_length=1)]
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    threads: Annotated[int, Meta(ge=1, le=4096)]
    versions: dict[str, str]
    data: Data
    device: str = "cpu"
    processes: Number = 1
    processor: str = ""
    given: dict[str, Any] = {}
    weights: str = ""
    sha256: str = ""


class Rest(Struct):
    """A block of scores without the images that were trained on."""

    accuracy: Share
    n: Number
    interval: tuple[Share, Share] | UnsetType = UNSET


class Block(Struct):
    """The scores of a part in metrics.json."""

    accuracy: Share
    n: Number
    confusion: list[list[Count]]
    loss: Finite | UnsetType = UNSET
    interval: tuple[Share, Share] | UnsetType = UNSET
    seen: Count = 0
    unseen: Rest | None = None


class Losses(Struct):
    """Of the last snapshot alone, and of all together."""

    single: Finite
    ensemble: Finite


class Snapshots(Struct):
    """What averaging the snapshots gave, in metrics.json."""

    members: Number
    n: Number
    ensemble: Share
    single: Share
    kept: str
    loss: Losses


class Seconds(Struct):
    """How long it took."""

    total: Positive


class Scores(Struct):
    """metrics.json."""

    val: Block
    classes: Annotated[list[str], Meta(min_length=1)]
    kept: str
    backbone: str
    strategy: str
    seconds: Seconds
    test: Block | None = None
    notes: list[str] = []
    snapshots: Snapshots | None = None


class Measured(Struct):
    """Loss and accuracy of a part after an epoch."""

    loss: Finite
    accuracy: Share


class ProbeLine(Struct, tag="probe", tag_field="phase"):
    """A line of metrics.jsonl about one L2 of a probe."""

    l2: Positive
    train: Measured
    val: Measured


class EpochLine(Struct):
    """A line of metrics.jsonl about an epoch."""

    phase: Literal["finetune", "head"]
    epoch: Annotated[int, Meta(ge=0, le=100_000)]
    lr: Positive
    train: Measured
    val: Measured
    lrs: list[Positive] | UnsetType = UNSET
    snapshot: Count | UnsetType = UNSET


def read_record(run: Path) -> dict[str, Any]:
    """The contents of RUN/run.json.

    Raises: UsageError if it is missing, StorageError if it cannot be read, ModelFileError if it is damaged.
    """
    return _checked(run / "run.json", Record)


def read_scores(run: Path) -> dict[str, Any]:
    """The contents of RUN/metrics.json. Raises: as `read_record`."""
    scores = _checked(run / "metrics.json", Scores)
    count = len(scores["classes"])
    for part in ("val", "test"):
        block = scores.get(part)
        if block and [len(row) for row in block["confusion"]] != [count] * count:
            raise ModelFileError(f"{run / 'metrics.json'} is damaged: {count} classes, a confusion of another size")
    return scores


def read_lines(run: Path) -> list[dict[str, Any]]:
    """The lines of RUN/metrics.jsonl; none if it is absent. Raises: as `read_record`."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return []
    lines = [_parsed(path, line) for line in _text(path, MAX_BYTES).split("\n") if line]
    for line in lines:
        is_probe = isinstance(line, dict) and line.get("phase") == "probe"
        _check(path, line, ProbeLine if is_probe else EpochLine)
    return lines


def read_rows(path: Path, columns: "Sequence[str]") -> list[list[str]]:
    """The rows of a CSV file with those columns and perhaps more after them, without its header; none if it is absent.

    Raises: StorageError, ModelFileError.
    """
    if not path.exists():
        return []
    try:
        rows = list(csv.reader(io.StringIO(_text(path, MAX_BYTES), newline="")))
    except csv.Error as error:
        raise ModelFileError(f"{path} is damaged: {error}") from error
    if not rows or rows[0][: len(columns)] != list(columns):
        raise ModelFileError(f"{path} is damaged: its first line is not {','.join(columns)}")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(rows[0]):
            raise ModelFileError(f"{path} is damaged: {len(row)} values in line {number}, not {len(rows[0])}")
    return rows[1:]


def read_predictions(run: Path) -> list[tuple[str, str, str, float]]:
    """What was said of each judged image: path, label, predicted, its probability.

    Raises: UsageError if the run has no such file; StorageError, ModelFileError.
    """
    path = run / PREDICTIONS
    if not path.exists():
        raise UsageError(f"{run} holds no finished run: {path} is missing")
    rows = read_rows(path, ("path", "label", "predicted", "probability"))
    try:
        return [convert((*row[:3], float(row[3])), tuple[str, str, str, Share]) for row in rows]
    except ValueError as error:  # a ValidationError is one
        raise ModelFileError(f"{path} is damaged: {error}") from error


def _checked(path: Path, schema: type) -> dict[str, Any]:
    value = _parsed(path, _text(path, MAX_JSON_BYTES))
    _check(path, value, schema)
    return value


def _check(path: Path, value: Any, schema: type) -> None:
    try:
        convert(value, schema)
    except ValidationError as error:
        raise ModelFileError(f"{path} is damaged: {error}") from error


def _parsed(path: Path, text: str) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number of JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is damaged: {error}") from error


def _text(path: Path, most: int) -> str:
    """The text of a file; names of files that are no UTF-8 stand in it as they are on disk."""
    if not path.exists():
        raise UsageError(f"no such file: {path}")
    try:
        if path.is_file() and path.stat().st_size > most:
            raise ModelFileError(f"{path} is larger than the {most >> 20} MB allowed")
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
