"""Several trained classifiers joined into one, whose probabilities are the mean of theirs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transferkit import runtime
from transferkit.data.hints import Hints
from transferkit.progress import Progress
from transferkit.ship import artifact, models, unseen_file
from transferkit.ship.classifier import Classifier, load
from transferkit.ship.models import Artifact, Ensemble
from transferkit.tasks import Task, summary
from transferkit.trust import calibration, sureness, unseen
from transferkit.zoo.errors import RunConflictError, UsageError

LEAST = 20  # images that calibrate


@dataclass(frozen=True, kw_only=True)
class Joined:
    """An ensemble that was written: its folder, the passes through a backbone that an image takes, its scores if asked.

    `scores` is what `Classifier.evaluate` returns; calibration, by which "temperature" all logits were divided and on
    how many "images", or None, and why not.
    """

    folder: Path
    passes: int
    scores: dict[str, Any] | None
    calibration: dict[str, Any] | None
    uncalibrated: str

    @property
    def classifier(self) -> Classifier:
        """The ensemble, read back from its folder."""
        return load(self.folder)


def join(
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    **labels: str | None,
) -> Joined:
    """Join run folders, model folders or embedded networks into the new model folder `out`.

    The classes are matched by name; their order is that of the first member. The mean of several calibrated networks is
    less sure than it is right: where the members are runs that share images which no fit behind their answers has seen,
    it is calibrated on these, and only then knows which answers are sure.

    Args: data, labelled images to score the members and the ensemble on before anything is written; the score stands in
    the model card if they are a test part; labels, label_column and label_from as for `Classifier.evaluate`.
    Raises: UsageError for fewer than two members, other classes, or a member that is an ensemble itself;
    RunConflictError if `out` is there already; ModelFileError, DataError, StorageError.
    """
    out, sources = Path(out).expanduser(), [os.path.expanduser(source) for source in sources]
    _check_free(out)
    if len(sources) < 2:
        raise UsageError(f"an ensemble needs at least two runs or models, not {len(sources)}")
    runtime.prepare_process()
    members = [_member(source) for source in sources]
    for source, member in zip(sources, members):
        models.check_same(members[0].task, members[0].classes, member, name=str(source))
    model = Ensemble(members=tuple(members), classes=members[0].classes, record={})
    model, uncalibrated = _calibrated(model, sources)
    classifier = Classifier(model, device=runtime.pick_device(device), folders=[Path(source) for source in sources])
    hints = Hints(**labels)
    scores = classifier.judge(data, hints, progress=progress).scores() if data is not None else None
    record = model.record
    if scores is not None and scores["part"] == "test":  # the members may have been trained on any other part
        record = record | {"test": summary(scores)}
    _check_free(out)  # scoring may have taken hours
    artifact.save_ensemble(out, model.members, classes=model.classes, record=record, sureness=model.sureness)
    return Joined(
        folder=out,
        passes=sum(each.views for each in classifier.passes),
        scores=scores,
        calibration=model.record.get("calibration"),
        uncalibrated=uncalibrated,
    )


def _calibrated(model: Ensemble, sources: Sequence[str]) -> tuple[Ensemble, str]:
    """The ensemble with one temperature for all members, by images that no fit has seen; or as it is, and why.

    Raises: ModelFileError.
    """
    known = []
    for source, member in zip(sources, model.members, strict=True):
        found = unseen_file.read(Path(source), num_classes=len(member.classes))
        if found is None:
            return model, f"{source} has no {unseen_file.FILE}, which finished runs have"
        known.append(found)
    rows = unseen.common(known)
    if len(rows[0]) < LEAST:
        return model, f"only {len(rows[0])} images were unseen by the fits of all members, {LEAST} are needed"
    task, labels = model.task, known[0].labels[rows[0]]
    logits = [
        each.logits[chosen][:, model.order(member)]
        for each, chosen, member in zip(known, rows, model.members, strict=True)
    ]
    spread = calibration.SPREAD_OF_REFITS if any(each.is_refitted for each in known) else calibration.SPREAD
    temperature = calibration.temperature(logits, labels, task, spread=spread)
    mean = task.mean(calibration.divided(logits, temperature))
    task = task.chosen_on(mean, labels)
    sure = sureness.learn(task.confidence(task.probabilities(mean)), task.right(mean, labels))
    record = {"calibration": {"temperature": temperature, "images": len(labels)}}
    members = tuple(_divided(each, temperature, task, model.classes) for each in model.members)
    return replace(model, members=members, record=record, sureness=sure), ""


def _divided(member: Artifact, temperature: float, task: Task, classes: Sequence[str]) -> Artifact:
    """A member whose logits are divided; what was known of its own answers no longer holds.

    Args: task, of the ensemble, with outputs in the order of its classes.
    """
    member.backbone.divide_logits(temperature)
    order = [classes.index(name) for name in member.classes]
    record = {name: block for name, block in member.record.items() if name != "calibration"}
    trust = replace(member.trust, sureness=None)
    return replace(member, task=task.reordered(order), trust=trust, record=record)


def _check_free(out: Path) -> None:
    """Raise RunConflictError if anything but an empty folder is there, be it a link that leads nowhere."""
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise RunConflictError(f"{out} exists already; name another folder with -o")


def _member(source: str | Path) -> Artifact:
    """The network of one source. Raises: UsageError if there is none or if it is an ensemble; ModelFileError."""
    member = artifact.load(source)
    if isinstance(member, Ensemble):
        raise UsageError(
            f"{source} is {member.name} itself; name those of its members that you want: members/0 and so on in it"
        )
    return member
