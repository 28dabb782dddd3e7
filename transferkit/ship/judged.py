"""What a classifier says of labelled images, before it is made into scores."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from transferkit.data.listing import Listing
from transferkit.tasks import Task, summary


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """The answers to the images at `rows` of a listing, in one part or all of them.

    Fields: task and classes, of the classifier; labels, as it numbers classes; answers, probabilities of each of M
    members; seen, which images it was trained or validated on; refused, the path of each unreadable file and why.

    Shapes: rows (N,), labels (N, ...), answers (N, M, K), seen (N,) bool.
    """

    task: Task
    classes: tuple[str, ...]
    part: str
    listing: Listing
    rows: np.ndarray
    labels: np.ndarray
    answers: np.ndarray
    seen: np.ndarray
    refused: list[list[str]]

    @property
    def groups(self) -> np.ndarray | None:
        """The groups of the images; shape (N,)."""
        return None if self.listing.groups is None else self.listing.groups[self.rows]

    @property
    def logits(self) -> np.ndarray:
        """Those of the mean probabilities; shape (N, K)."""
        return self.task.logits(self.answers.mean(axis=1))

    def scores(self) -> dict[str, Any]:
        """The scores of the members' mean, and, if they are several, those of each in "members"."""
        task, labels, groups = self.task, self.labels, self.groups
        block = task.scores(self.logits, labels, groups) | task.seen_scores(self.logits, labels, self.seen, groups)
        if self.answers.shape[1] > 1:
            members = [task.scores(task.logits(p), labels, groups) for p in self.answers.swapaxes(0, 1)]
            block["members"] = [summary(each) | {"interval": each["interval"]} for each in members]
        about = {"task": task.name, "part": self.part, "classes": list(self.classes), "refused": self.refused}
        return block | about
