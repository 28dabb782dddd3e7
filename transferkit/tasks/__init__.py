"""What is asked of a network: one class for each image, or any number of them; a file each.

A new one is a file and a line of `TABLE`. Nothing here imports torch before a network is trained.
"""

from typing import Any

from transferkit.tasks.multi_label import MultiLabel
from transferkit.tasks.single_label import SINGLE_LABEL, SingleLabel
from transferkit.tasks.task import Task, score_line
from transferkit.tasks.words import further, summary

__all__ = [
    "SINGLE_LABEL",
    "TABLE",
    "MultiLabel",
    "SingleLabel",
    "Task",
    "further",
    "of_scores",
    "read",
    "score_line",
    "summary",
]

TABLE: dict[str, type[Task]] = {task.name: task for task in (SingleLabel, MultiLabel)}


def of_scores(scores: dict[str, Any]) -> Task:
    """The task of a metrics.json, without what was chosen for it."""
    return TABLE[scores.get("task", SINGLE_LABEL.name)]()


def read(name: str, thresholds: tuple[float, ...], *, num_classes: int) -> Task:
    """The task that a model folder names. Raises: ValueError for one that nobody knows, or of other classes."""
    if name not in TABLE:
        raise ValueError(f"task {name!r} is unknown; known: {', '.join(TABLE)}")
    return TABLE[name].read(thresholds, num_classes=num_classes)
