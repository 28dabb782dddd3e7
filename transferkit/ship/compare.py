"""Two classifiers on the same images: which is better, by how much, and how sure that is."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transferkit import metrics, paired, tasks
from transferkit.data import manifest
from transferkit.data.hints import NONE, Hints
from transferkit.data.manifest import COLUMNS
from transferkit.progress import Progress
from transferkit.ship import classifier, run_files
from transferkit.ship.judged import Judged
from transferkit.tasks.multi_label import BAR
from transferkit.zoo.errors import DataError, UsageError

LEAST = 10  # images in common; fewer can show nothing
TO_SEE = 0.02  # the difference that the number of images needed is said of
SURE = 0.05  # the p below which two classifiers are said to differ


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A paired comparison of two classifiers on `n` images of a part; differences are the first minus the second.

    Fields: names, of both; accuracies, and only, on how many images one alone is right; difference of accuracies with
    its 95 % interval and the p of none; losses, log losses in nats, with loss_difference and loss_interval, None
    where the answers of finished runs are compared; groups, in which the images lie, None where each stands alone;
    images_needed, about how many show a difference of 0.02 with 80 % probability; notes, lines for the reader.
    """

    names: tuple[str, str]
    part: str
    n: int
    groups: int | None
    accuracies: tuple[float, float]
    only: tuple[int, int]
    difference: float
    interval: tuple[float, float]
    p: float
    losses: tuple[float, float] | None
    loss_difference: float | None
    loss_interval: tuple[float, float] | None
    images_needed: int
    notes: tuple[str, ...] = ()

    @property
    def better(self) -> str | None:
        """The name of the one that is measurably more accurate; None if neither is."""
        return self.names[self.difference < 0] if self.p < SURE else None

    @property
    def verdict(self) -> str:
        """In words, whether they differ."""
        p = "p < .001" if self.p < 0.001 else f"p = {self.p:.3f}".replace("0.", ".")
        sign = -1 if self.better and self.difference < 0 else 1
        low, high = sorted(100 * sign * end for end in self.interval)
        points = f"{100 * sign * self.difference:.1f} points (95 % interval {low:.1f} to {high:.1f}), {p}"
        if self.better:
            return f"{self.better} is better: {points}"
        if self.images_needed <= self.n:
            need = f"a difference of {100 * TO_SEE:.0f} points would most likely have been seen"
        else:
            need = f"to see {100 * TO_SEE:.0f} points you would need about {self.images_needed:,} images"
        return f"they do not differ measurably on {self.n:,} images: {points}; {need}"

    def as_json(self) -> dict[str, Any]:
        """All of it, with `better` and `verdict`."""
        return asdict(self) | {"better": self.better, "verdict": self.verdict}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Answers:
    """What is compared of one classifier. Shapes: all (N,); losses None where they are not known."""

    keys: np.ndarray  # of the images, each with its label
    right: np.ndarray
    losses: np.ndarray | None
    seen: np.ndarray
    groups: np.ndarray


def compare(
    first: str | Path, second: str | Path, data: str | Path | None = None, *, part: str | None = None,
    progress: Progress | None = None, **labels: str | None
) -> Comparison:  # fmt: skip
    """Compare two classifiers on the labelled images of `data`, or two runs on the test images that both have judged.

    What either was trained or validated on is left out. Images of one group count together.

    Args: first and second, run folders, or with `data` also model folders and names of embedded networks; part,
    and as labels label_column and label_from, of `data`, as `Classifier.evaluate` takes them.
    Raises: UsageError, DataError if tasks or classes differ or too few images are left; ModelFileError.
    """
    names = str(first), str(second)
    hints = Hints(**labels)
    if data is None and (part is not None or hints != NONE):
        raise UsageError("part and labels are those of DATA; runs without DATA are compared on their test images")
    if data is None:
        runs = [Path(each).expanduser() for each in names]
        scores = [run_files.read_scores(run) for run in runs]
        kinds = [tasks.of_scores(each) for each in scores]
        _check(names, [kind.name for kind in kinds], [each["classes"] for each in scores])
        for run, own in zip(runs, scores):
            if not own.get("test"):
                raise UsageError(f"{run} has judged no test images; give DATA to compare on")
        answers = [_of_run(run, other, own) for run, other, own in zip(runs, runs[::-1], scores)]
        part = "test"
    else:
        both = [classifier.load(each) for each in names]
        _check(names, [each.task.name for each in both], [each.classes for each in both])
        judged = [each.judge(data, hints, part=part, progress=progress) for each in both]
        answers, part = [_of_data(each) for each in judged], judged[0].part
    return _compared(names, answers, part=part)


def _check(names: Sequence[str], kinds: Sequence[str], classes: Sequence[Sequence[str]]) -> None:
    """Refuse two that do not answer the same question. Raises: DataError."""
    if kinds[0] != kinds[1]:
        raise DataError(f"{names[0]} is {kinds[0]}, {names[1]} is {kinds[1]}: there is nothing to compare")
    for name, own, other in zip(names, classes, classes[::-1]):
        if more := sorted(set(own) - set(other)):
            raise DataError(f"the classes differ: {name} alone knows {', '.join(more[:5])}{', ...' * (len(more) > 5)}")


def _of_data(judged: Judged) -> _Answers:
    n = len(judged.rows)
    return _Answers(
        keys=judged.rows,
        right=judged.task.right(judged.logits, judged.labels),
        losses=judged.task.log_losses(judged.logits, judged.labels),
        seen=judged.seen,
        groups=np.full(n, "") if judged.groups is None else judged.groups,
    )


def _of_run(run: Path, other: Path, scores: dict[str, Any]) -> _Answers:
    """What a run said of its test images. Raises: UsageError, StorageError, ModelFileError."""
    predictions = run_files.read_predictions(run, tasks.of_scores(scores), scores["classes"])
    about = {row[0]: dict(zip(COLUMNS, row[2:])) for row in run_files.read_manifest(run)}
    fitted = [manifest.fitted_by([each]) for each in (run, other)]

    def is_seen(path: str) -> bool:
        of = about.get(path)
        return of is not None and any(of["sha256"] in each.get(int(of["bytes"]), ()) for each in fitted)

    return _Answers(
        keys=np.array([f"{path}\0{BAR.join(sorted(true.split(BAR)))}" for path, true, *_ in predictions], object),
        right=np.array([true == said for _, true, said, _ in predictions], bool),
        losses=None,
        seen=np.array([is_seen(path) for path, *_ in predictions], bool),
        groups=np.array([about.get(path, {}).get("group", "") for path, *_ in predictions], str),
    )


def _compared(names: tuple[str, str], answers: Sequence[_Answers], *, part: str) -> Comparison:
    """The comparison on the images that both have answered for and neither has seen. Raises: DataError."""
    keys, *at = np.intersect1d(answers[0].keys, answers[1].keys, return_indices=True)
    seen = answers[0].seen[at[0]] | answers[1].seen[at[1]]
    at = [rows[~seen] for rows in at]
    n, notes = len(at[0]), []
    if seen.any():
        notes.append(f"{seen.sum():,} of {len(keys):,} images are left out: one of the two was fitted to them")
    if n < LEAST:
        left = f"{n} images that neither was fitted to" if seen.any() else f"{n} images in common"
        raise DataError(f"{names[0]} and {names[1]} have {left}, too few to compare; give DATA with more")
    if len(keys) < max(len(each.keys) for each in answers):
        counts = " and ".join(f"{len(each.keys):,}" for each in answers)
        notes.append(f"{counts} images were judged, {len(keys):,} of them by both")
    unit = metrics.units(answers[0].groups[at[0]])
    rights = [each.right[rows] for each, rows in zip(answers, at)]
    differences = rights[0].astype(np.int64) - rights[1]
    losses = [each.losses[rows] for each, rows in zip(answers, at) if each.losses is not None]
    gains = losses[0] - losses[1] if losses else None
    of_losses = gains is not None and unit.max() > 0
    return Comparison(
        names=names,
        part=part,
        n=n,
        groups=int(unit.max()) + 1 if unit.max() + 1 < n else None,
        accuracies=(float(rights[0].mean()), float(rights[1].mean())),
        only=(int((differences > 0).sum()), int((differences < 0).sum())),
        difference=float(differences.mean()),
        interval=paired.interval(differences, unit),
        p=paired.sign_test(differences, unit),
        losses=(float(losses[0].mean()), float(losses[1].mean())) if losses else None,
        loss_difference=None if gains is None else float(gains.mean()),
        loss_interval=paired.mean_interval(np.bincount(unit, gains), np.bincount(unit)) if of_losses else None,
        images_needed=paired.images_needed(differences, unit, to_see=TO_SEE),
        notes=tuple(notes),
    )
