"""Any number of K classes for each image, each a question of its own: sigmoid and binary cross-entropy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from transferkit.options import Options
from transferkit.tasks import label_scores, label_sets
from transferkit.tasks.task import Answers, Said, Task
from transferkit.tasks.words import interval_words
from transferkit.zoo.errors import UsageError

BAR = "|"  # between the labels of an image
EVEN = 0.5  # the threshold of a class of which validation says nothing


@dataclass(frozen=True, kw_only=True)
class MultiLabel(Task):
    """Which of K classes are on an image, be it none.

    Fields: thresholds, of the probability above which a class is named; () before they are chosen, which means 0.5.

    Shapes: labels (N, K) bool, thresholds (K,).
    """

    thresholds: tuple[float, ...] = ()

    name = "multi-label"
    column = "labels"
    least_classes = 1
    names_one = False

    def text(self, label: Any, classes: Sequence[str]) -> str:
        return BAR.join(name for name, is_there in zip(classes, label) if is_there)

    def counts(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        return labels.sum(0)

    def sets(self, labels: np.ndarray) -> np.ndarray:
        return np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)

    def renumbered(self, labels: np.ndarray, numbers: Sequence[int], num_classes: int) -> np.ndarray:
        found = np.zeros((len(labels), num_classes), bool)
        found[:, list(numbers)] = labels
        return found

    def stratified(
        self, labels: np.ndarray, fraction: float, *, seed: int, groups: np.ndarray | None = None
    ) -> np.ndarray:
        return label_sets.stratified(labels, fraction, seed=seed, groups=groups)

    def folds(self, labels: np.ndarray, count: int, *, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
        return label_sets.folds(labels, count, seed=seed, groups=groups)

    def check(self, options: Options) -> None:
        if options.balance == "sampler":
            raise UsageError(
                "--balance sampler draws every class equally often, which images of several classes do not allow; "
                "use --balance weights"
            )

    def class_weights(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        """Images without the class over those with it: what each of these counts.

        >>> MultiLabel().class_weights(np.array([[True], [False], [False]]), 1).tolist()
        [2.0]
        """
        positives = labels.sum(0)
        return np.maximum(len(labels) - positives, 1) / np.maximum(positives, 1)

    def image_weights(self, labels: np.ndarray, class_weights: np.ndarray | None) -> np.ndarray | None:
        return None

    def criterion(self, class_weights: np.ndarray | None, *, label_smoothing: float, device: Any):
        """The mean over images and classes."""
        import torch
        from torch.nn import functional

        positive = None if class_weights is None else torch.from_numpy(class_weights).float().to(device)

        def loss(logits, labels):
            target = labels.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
            return functional.binary_cross_entropy_with_logits(logits, target, pos_weight=positive)

        return loss

    def shares(self, labels, class_weights, *, views):
        """Shapes: (2, K), of images without and with the class."""
        import torch

        return torch.stack([torch.ones_like(class_weights), class_weights]) / (views * len(labels))

    def slope(self, logits, labels, shares):
        """One problem for each class, with nothing in common but the L2: the loss is the sum over classes."""
        import torch
        from torch.nn import functional

        share = torch.where(labels, shares[1], shares[0])  # (B, K)
        loss = (share * functional.softplus(torch.where(labels, -logits, logits))).sum(dtype=torch.float64).item()
        return loss, logits.sigmoid_().sub_(labels.to(logits.dtype)).mul_(share)

    def activated(self, logits):
        return logits.sigmoid()

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        return np.exp(-np.logaddexp(0, -logits))

    def logits(self, probabilities: np.ndarray) -> np.ndarray:
        p = np.clip(probabilities, np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg)
        return np.log(p) - np.log1p(-p)

    def log_losses(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The mean over the classes."""
        return np.logaddexp(0, np.where(labels, -logits, logits).astype(np.float64)).mean(1)

    def right(self, logits: Answers, labels: Answers) -> Answers:
        """Those of which every class is."""
        cuts = np.array([math.log(t / (1 - t)) for t in self.thresholds]) if self.thresholds else 0.0
        return ((logits > cuts) == labels).all(1)

    def confidence(self, probabilities: np.ndarray) -> np.ndarray:
        """The product over the classes, as if they were independent."""
        is_said = probabilities > np.array(self.thresholds or EVEN)
        return np.where(is_said, probabilities, 1 - probabilities).prod(1)

    def chosen_on(self, logits: np.ndarray, labels: np.ndarray) -> "MultiLabel":
        """With the thresholds of the highest F1 of each class."""
        return replace(self, thresholds=label_scores.thresholds(self.probabilities(logits), labels, otherwise=EVEN))

    def measured(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """And the mAP."""
        precisions = label_scores.average_precisions(logits, labels)
        return super().measured(logits, labels) | {"mAP": label_scores.mean_of(precisions)}

    def stated(self, probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each class of each image."""
        return probabilities.reshape(-1), labels.reshape(-1)

    def scores(self, logits: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> dict[str, Any]:
        """With mAP, micro F1 and ROC AUC; accuracy is the share of images whose labels are all right."""
        thresholds = np.array(self.thresholds or [EVEN] * logits.shape[1])
        own = label_scores.scores(self.probabilities(logits), labels, thresholds)
        return super().scores(logits, labels, groups) | own

    def said(self, probabilities: np.ndarray) -> Said:
        """The classes above their thresholds, the likeliest first."""
        above = probabilities > np.array(self.thresholds or EVEN)
        order = np.argsort(-probabilities, kind="stable")
        return tuple((int(k), float(probabilities[k])) for k in order if above[k])

    def prediction_columns(self, classes: Sequence[str]) -> tuple[str, ...]:
        return ("path", "labels", "predicted", *classes)

    def prediction(self, probabilities: np.ndarray, label: Any, classes: Sequence[str]) -> tuple[str, ...]:
        named = np.zeros(len(classes), bool)
        named[[k for k, _ in self.said(probabilities)]] = True
        return self.text(label, classes), self.text(named, classes), *(f"{p:.6f}" for p in probabilities)

    def headline(self, block: dict[str, Any]) -> str:
        return (
            f"mAP {block['mAP']:.3f}, F1 {block['micro_f1']:.3f} micro, {block['macro_f1']:.3f} macro; all labels "
            f"right on {100 * block['accuracy']:.1f} % of {block['n']} images "
            f"({interval_words(block)})"
        )

    def class_table(self, block: dict[str, Any], classes: Sequence[str]) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("class", "images", "AP", "precision", "recall", "F1", "threshold")]
        for name, scores in zip(classes, block["per_class"]):
            figures = (scores[key] for key in ("ap", "precision", "recall", "f1"))
            cells = ("" if figure is None else f"{figure:.3f}" for figure in figures)
            rows.append((name, str(scores["images"]), *cells, f"{scores['threshold']:.3f}"))
        return rows

    def as_json(self) -> dict[str, Any]:
        return {"task": {"name": self.name, "thresholds": list(self.thresholds)}}

    @classmethod
    def read(cls, thresholds: tuple[float, ...], *, num_classes: int) -> "MultiLabel":
        if len(thresholds) not in (0, num_classes) or not all(0 < threshold < 1 for threshold in thresholds):
            raise ValueError(f"{num_classes} thresholds between 0 and 1 are expected, or none")
        return cls(thresholds=thresholds)

    def joined(self, members: Sequence[Task]) -> "MultiLabel":
        """With the mean of their thresholds."""
        chosen = [member.thresholds for member in members if isinstance(member, MultiLabel) and member.thresholds]
        if len(chosen) < len(members):
            return replace(self, thresholds=())
        return replace(self, thresholds=tuple(np.mean(chosen, axis=0).tolist()))

    def reordered(self, order: Sequence[int]) -> "MultiLabel":
        return replace(self, thresholds=tuple(self.thresholds[k] for k in order)) if self.thresholds else self
