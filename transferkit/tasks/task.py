"""What all tasks have in common: how labels are written, divided, learned, judged and said."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from transferkit import metrics
from transferkit.options import Options

if TYPE_CHECKING:
    from torch import Tensor

Said = tuple[tuple[int, float], ...]  # classes that are named, each with its probability
SUMMARY = ("accuracy", "loss", "n", "seen", "unseen", "near_copies", "mAP", "micro_f1", "macro_f1")
Answers = Any  # an array or a tensor: what is written with operators alone does for both


def summary(block: dict[str, Any]) -> dict[str, Any]:
    """A block of scores without what is of single classes."""
    return {name: block[name] for name in SUMMARY if name in block}


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """What is asked of a network with K outputs.

    Fields: name; column, of the CSV that has the labels; least_classes, that make something to learn; names_one,
    whether an answer is one class.

    Shapes: labels (N, ...) of numbers, one row an image; logits and probabilities (N, K).
    """

    name: ClassVar[str]
    column: ClassVar[str]
    least_classes: ClassVar[int]
    names_one: ClassVar[bool]

    # labels

    @abstractmethod
    def text(self, label: Any, classes: Sequence[str]) -> str:
        """The label of one image as a CSV has it."""

    @abstractmethod
    def counts(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        """How many images have each class; shape (K,)."""

    @abstractmethod
    def sets(self, labels: np.ndarray) -> np.ndarray:
        """A number for each image, the same for images of the same label; shape (N,)."""

    @abstractmethod
    def renumbered(self, labels: np.ndarray, numbers: Sequence[int], num_classes: int) -> np.ndarray:
        """The labels with class k called `numbers[k]`, of `num_classes`."""

    @abstractmethod
    def stratified(
        self, labels: np.ndarray, fraction: float, *, seed: int, groups: np.ndarray | None = None
    ) -> np.ndarray:
        """Which images validate, `fraction` of each class and groups whole; shape (N,) bool."""

    @abstractmethod
    def folds(self, labels: np.ndarray, count: int, *, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
        """The fold of each image, every class spread evenly and groups whole; shape (N,) in 0 .. count - 1."""

    def assign_parts(
        self, labels: np.ndarray, parts: np.ndarray, *, fraction: float, seed: int, groups: np.ndarray | None = None
    ) -> np.ndarray:
        """The part of each image: as given where it is; without any "val", `fraction` of what may train validates.

        Shapes: parts (N,) of "", "train", "val", "test" -> (N,) of "train", "val", "test".
        """
        assigned = np.where(parts == "", "train", parts)
        if not (assigned == "val").any():
            trainable = np.flatnonzero(assigned == "train")
            own_groups = None if groups is None else groups[trainable]
            held_out = self.stratified(labels[trainable], fraction, seed=seed, groups=own_groups)
            assigned[trainable[held_out]] = "val"
        return assigned

    # training

    @abstractmethod
    def check(self, options: Options) -> None:
        """Refuse options that the task has no use for. Raises: UsageError."""

    @abstractmethod
    def class_weights(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        """What an image of each class counts where rare ones are to count as much; shape (K,)."""

    @abstractmethod
    def image_weights(self, labels: np.ndarray, class_weights: np.ndarray | None) -> np.ndarray | None:
        """The weights (N,) of a batch's mean; None where all images count the same."""

    @abstractmethod
    def criterion(
        self, class_weights: np.ndarray | None, *, label_smoothing: float, device: Any
    ) -> "Callable[[Tensor, Tensor], Tensor]":
        """The mean loss of a batch: (logits (B, K), labels (B, ...)) -> ()."""

    @abstractmethod
    def shares(self, labels: np.ndarray, class_weights: "Tensor", *, views: int) -> "Tensor":
        """What each class counts in `slope`, (..., K), so that all images, each in all views, count 1."""

    @abstractmethod
    def slope(self, logits: "Tensor", labels: "Tensor", shares: "Tensor") -> "tuple[float, Tensor]":
        """The loss of a block by `shares`, and its gradient (B, K) after the logits, whose memory it may use."""

    # judging

    @abstractmethod
    def activated(self, logits: "Tensor") -> "Tensor":
        """Probabilities; shapes (..., K) -> (..., K)."""

    @abstractmethod
    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """The same of arrays."""

    @abstractmethod
    def logits(self, probabilities: np.ndarray) -> np.ndarray:
        """Logits that have those probabilities."""

    @abstractmethod
    def log_losses(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The log loss of each image, in nats; shape (N,)."""

    @abstractmethod
    def right(self, logits: Answers, labels: Answers) -> Answers:
        """Which images are named right; shape (N,)."""

    def mean(self, logits: Sequence[np.ndarray]) -> np.ndarray:
        """Logits whose probabilities are the mean of the members'; shapes: each (N, K) -> (N, K)."""
        return self.logits(np.mean([self.probabilities(member) for member in logits], axis=0))

    def chosen_on(self, logits: np.ndarray, labels: np.ndarray) -> "Task":
        """The task with what is chosen on validation images."""
        return self

    def measured(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Loss and accuracy, and what else is followed from epoch to epoch."""
        return {
            "loss": float(self.log_losses(logits, labels).mean()),
            "accuracy": float(self.right(logits, labels).mean()),
        }

    def scores(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        """The block of scores that run files and `evaluate --json` hold.

        Returns: accuracy, its 95 % interval, the mean log loss in nats, n, and what is the task's own.
        """
        hits = int(self.right(logits, labels).sum())
        return {
            "accuracy": hits / len(labels),
            "interval": list(metrics.wilson_interval(hits, len(labels))),
            "loss": float(self.log_losses(logits, labels).mean()),
            "n": len(labels),
        }

    def seen_scores(self, logits: np.ndarray, labels: np.ndarray, seen: np.ndarray) -> dict[str, Any]:
        """How many judged images the classifier was fitted to, and what it scores without them: None if none are left.

        Shapes: seen (N,) bool.
        """
        count, rest = int(seen.sum()), None
        if count and not seen.all():
            block = self.scores(logits[~seen], labels[~seen])
            rest = {name: block[name] for name in ("accuracy", "interval", "n")}
        return {"seen": count, "unseen": rest}

    # saying

    @abstractmethod
    def said(self, probabilities: np.ndarray) -> Said:
        """What is said of one image; shape (K,)."""

    @abstractmethod
    def prediction_columns(self, classes: Sequence[str]) -> tuple[str, ...]:
        """The columns of predictions.csv."""

    @abstractmethod
    def prediction(self, probabilities: np.ndarray, label: Any, classes: Sequence[str]) -> tuple[str, ...]:
        """The cells of an image there, after its path: the label, what is said, probabilities."""

    @abstractmethod
    def headline(self, block: dict[str, Any]) -> str:
        """A block of scores in words."""

    @abstractmethod
    def class_table(self, block: dict[str, Any], classes: Sequence[str]) -> list[tuple[str, ...]]:
        """The scores of each class in a block that has some: a header, then rows."""

    def as_json(self) -> dict[str, Any]:
        """What config.json has of it; nothing of the usual task."""
        return {}

    @classmethod
    @abstractmethod
    def read(cls, thresholds: tuple[float, ...], *, num_classes: int) -> "Task":
        """The task of a config.json. Raises: ValueError."""

    def joined(self, members: "Sequence[Task]") -> "Task":
        """The task of the mean of several networks, all in the same order of classes."""
        return self

    def reordered(self, order: Sequence[int]) -> "Task":
        """The task of a network whose output k was output `order[k]`."""
        return self
