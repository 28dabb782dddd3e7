"""One class for each image: softmax and cross-entropy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferkit import metrics
from transferkit.options import Options
from transferkit.tasks import label_scores, split
from transferkit.tasks.task import Answers, Said, Task
from transferkit.tasks.words import interval_words

TOP = 5


@dataclass(frozen=True, kw_only=True)
class SingleLabel(Task):
    """Which of K classes an image is. Shapes: labels (N,) int64."""

    name = "single-label"
    column = "label"
    least_classes = 2
    names_one = True

    def text(self, label: Any, classes: Sequence[str]) -> str:
        return classes[int(label)]

    def counts(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        return np.bincount(labels, minlength=num_classes)

    def sets(self, labels: np.ndarray) -> np.ndarray:
        return labels

    def renumbered(self, labels: np.ndarray, numbers: Sequence[int], num_classes: int) -> np.ndarray:
        return np.array(numbers)[labels]

    def stratified(
        self, labels: np.ndarray, fraction: float, *, seed: int, groups: np.ndarray | None = None
    ) -> np.ndarray:
        return split.stratified(labels, fraction, seed=seed, groups=groups)

    def folds(self, labels: np.ndarray, count: int, *, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
        return split.folds(labels, count, seed=seed, groups=groups)

    def check(self, options: Options) -> None:
        """All of them are of use."""

    def class_weights(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        """N / (K * n_c), so that every class counts the same; a class without images gets 0.

        >>> SINGLE_LABEL.class_weights(np.array([0, 0, 0, 1]), 2).round(3).tolist()
        [0.667, 2.0]
        """
        counts = np.bincount(labels, minlength=num_classes)
        return np.divide(len(labels), num_classes * counts, out=np.zeros(num_classes), where=counts > 0)

    def image_weights(self, labels: np.ndarray, class_weights: np.ndarray | None) -> np.ndarray | None:
        return None if class_weights is None else class_weights[labels]

    def criterion(self, class_weights: np.ndarray | None, *, label_smoothing: float, device: Any):
        import torch
        from torch import nn

        weights = None if class_weights is None else torch.from_numpy(class_weights).float()
        return nn.CrossEntropyLoss(weights, label_smoothing=label_smoothing).to(device)

    def shares(self, labels, class_weights, *, views):
        """Shapes: (K,)."""
        counts = np.bincount(labels, minlength=len(class_weights))
        return class_weights / (views * float(counts @ class_weights.double().numpy()))

    def slope(self, logits, labels, shares):
        log_p = logits.log_softmax(1)  # (B, K)
        share = shares[labels]  # (B,)
        target = labels[:, None]
        loss = -(log_p.gather(1, target)[:, 0].double() @ share.double()).item()
        return loss, log_p.exp_().mul_(share[:, None]).scatter_add_(1, target, -share[:, None])

    def activated(self, logits):
        return logits.softmax(-1)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        return metrics.softmax(logits)

    def logits(self, probabilities: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))

    def log_losses(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return metrics.log_losses(logits, labels)

    def right(self, logits: Answers, labels: Answers) -> Answers:
        return logits.argmax(1) == labels

    def confidence(self, probabilities: np.ndarray) -> np.ndarray:
        return probabilities.max(1)

    def stated(self, probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The likeliest class of each image."""
        return probabilities.max(1), probabilities.argmax(1) == labels

    def scores(self, logits: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> dict[str, Any]:
        """With the confusion counts, rows true; ROC AUC of two classes, top-5 accuracy of more than five.

        Macro means, and balanced accuracy, which is macro recall, are over the classes that some image has.
        """
        num_classes = logits.shape[1]
        confusion = metrics.confusion(labels, logits.argmax(axis=1), num_classes=num_classes)
        classes = label_scores.per_class(confusion.diagonal(), named=confusion.sum(0), images=confusion.sum(1))
        block = super().scores(logits, labels, groups) | {"confusion": confusion.tolist(), "per_class": classes}
        means = label_scores.macro(classes)
        block |= {"balanced_accuracy": means.pop("macro_recall"), **means}
        if num_classes == 2:
            block["roc_auc"] = metrics.roc_auc(logits[:, 1] - logits[:, 0], labels == 1)
        if num_classes > TOP:
            likeliest = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
            block[f"top{TOP}"] = float((likeliest == labels[:, None]).any(1).mean())
        return block

    def said(self, probabilities: np.ndarray) -> Said:
        """The likeliest class."""
        best = int(probabilities.argmax())
        return ((best, float(probabilities[best])),)

    def prediction_columns(self, classes: Sequence[str]) -> tuple[str, ...]:
        return ("path", "label", "predicted", "probability")

    def prediction(self, probabilities: np.ndarray, label: Any, classes: Sequence[str]) -> tuple[str, ...]:
        ((best, probability),) = self.said(probabilities)
        return self.text(label, classes), classes[best], f"{probability:.6f}"

    def headline(self, block: dict[str, Any]) -> str:
        return f"{100 * block['accuracy']:.1f} % of {block['n']} images right ({interval_words(block)})"

    def class_table(self, block: dict[str, Any], classes: Sequence[str]) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("class", "images", "right", "precision", "recall", "F1")]
        for k, name in enumerate(classes):
            scores = block["per_class"][k]
            if scores["images"]:
                figures = (scores[key] for key in ("precision", "recall", "f1"))
                cells = ("" if figure is None else f"{figure:.3f}" for figure in figures)
                rows.append((name, str(scores["images"]), str(block["confusion"][k][k]), *cells))
        return rows

    @classmethod
    def read(cls, thresholds: tuple[float, ...], *, num_classes: int) -> "SingleLabel":
        if thresholds:
            raise ValueError("a single-label model has no thresholds")
        return SINGLE_LABEL


SINGLE_LABEL = SingleLabel()
