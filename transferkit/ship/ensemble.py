"""Several trained classifiers joined into one, whose probabilities are the mean of theirs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit import runtime
from transferkit.data.hints import Hints
from transferkit.progress import Progress
from transferkit.ship import artifact, models
from transferkit.ship.classifier import Classifier, load
from transferkit.ship.models import Artifact, Ensemble
from transferkit.tasks import summary
from transferkit.zoo.errors import RunConflictError, UsageError


@dataclass(frozen=True, kw_only=True)
class Joined:
    """An ensemble that was written: its folder, the passes through a backbone that an image takes, its scores if asked.

    `scores` is what `Classifier.evaluate` returns.
    """

    folder: Path
    passes: int
    scores: dict[str, Any] | None

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

    The classes are matched by name; their order is that of the first member.

    Args: data, labelled images to score the members and the ensemble on before anything is written; the score stands in
    the model card if they are a test part; labels, label_column and label_from as for `Classifier.evaluate`.
    Raises: UsageError for fewer than two members, other classes, or a member that is an ensemble itself;
    RunConflictError if `out` is there already; ModelFileError, DataError, StorageError.
    """
    out, sources = Path(out).expanduser(), [os.path.expanduser(source) for source in sources]
    _check_free(out)
    if len(sources) < 2:
        raise UsageError(f"an ensemble needs at least two runs or models, not {len(sources)}")
    runtime.keep_freed_memory()
    members = [_member(source) for source in sources]
    for source, member in zip(sources, members):
        models.check_same(members[0].task, members[0].classes, member, name=str(source))
    model = Ensemble(members=tuple(members), classes=members[0].classes, record={})
    classifier = Classifier(model, device=runtime.pick_device(device), folders=[Path(source) for source in sources])
    hints = Hints(**labels)
    scores = classifier.judge(data, hints, progress=progress).scores() if data is not None else None
    record = {}
    if scores is not None and scores["part"] == "test":  # the members may have been trained on any other part
        record = {"test": summary(scores)}
    _check_free(out)  # scoring may have taken hours
    artifact.save_ensemble(out, members, classes=model.classes, record=record)
    return Joined(folder=out, passes=sum(each.views for each in classifier.passes), scores=scores)


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
