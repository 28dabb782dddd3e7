"""Scores of classes that are each a yes or a no."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferkit import metrics


def average_precisions(scores: np.ndarray, labels: np.ndarray) -> list[float | None]:
    """The average precision of each class; None of one that no image has.

    Shapes: scores (N, K), of which only the order counts, labels (N, K) bool.
    """
    from sklearn.metrics import average_precision_score

    return [
        float(average_precision_score(labels[:, k], scores[:, k])) if labels[:, k].any() else None
        for k in range(labels.shape[1])
    ]


def mean_of(values: Sequence[float | None]) -> float:
    """The mean of those that are known, as of mAP and macro F1; 0 if none is."""
    known = [value for value in values if value is not None]
    return sum(known) / max(1, len(known))


def scores(probabilities: np.ndarray, labels: np.ndarray, thresholds: np.ndarray) -> dict[str, Any]:
    """mAP, ROC AUC, micro F1, macro means, and the scores of each class.

    mAP and macro means are over the classes that some image has, ROC AUC is over those that some lack as well.

    Shapes: probabilities (N, K), labels (N, K) bool, thresholds (K,).
    """
    said = probabilities > thresholds
    hits, named, images = (labels & said).sum(0), said.sum(0), labels.sum(0)
    classes = [
        {"ap": precision, "threshold": float(threshold), **one}
        for precision, threshold, one in zip(
            average_precisions(probabilities, labels), thresholds, per_class(hits, named=named, images=images)
        )
    ]
    areas = [metrics.roc_auc(probabilities[:, k], labels[:, k]) for k in range(len(thresholds))]
    return {
        "mAP": mean_of([one["ap"] for one in classes]),
        "micro_f1": _share(2 * hits.sum(), named.sum() + images.sum()) or 0.0,
        "roc_auc": mean_of(areas) if any(area is not None for area in areas) else None,
        **macro(classes),
        "per_class": classes,
    }


def per_class(hits: np.ndarray, *, named: np.ndarray, images: np.ndarray) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class: None without an answer, or an image, of it. Shapes: counts (K,)."""
    return [
        {
            "precision": _share(hit, said),
            "recall": _share(hit, there),
            "f1": _share(2 * hit, said + there) if there else None,
            "images": int(there),
            "named": int(said),
        }
        for hit, said, there in zip(hits, named, images)
    ]


def macro(classes: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Means over the classes that some image has; the precision of one that is never named counts as 0."""
    there = [one for one in classes if one["images"]]
    return {f"macro_{name}": mean_of([one[name] or 0.0 for one in there]) for name in ("precision", "recall", "f1")}


def _share(part: int, of: int) -> float | None:
    return float(part / of) if of else None


def thresholds(probabilities: np.ndarray, labels: np.ndarray, *, otherwise: float) -> tuple[float, ...]:
    """For each class the threshold of the highest F1, in the middle between two probabilities.

    Of several as good, the nearest to `otherwise`, which is also that of a class which all images have, or none.

    Shapes: probabilities (N, K), labels (N, K) bool.
    """
    return tuple(
        _threshold(probabilities[:, k], labels[:, k], otherwise) if 0 < labels[:, k].sum() < len(labels) else otherwise
        for k in range(labels.shape[1])
    )


def _threshold(p: np.ndarray, labels: np.ndarray, otherwise: float) -> float:
    order = np.argsort(-p, kind="stable")
    above, below = p[order], np.append(p[order][1:], 0.0)
    f1 = 2 * np.cumsum(labels[order]) / (np.arange(1, len(p) + 1) + labels.sum())
    middle = (above + below) / 2
    f1[~((below < middle) & (middle < above))] = -1  # no cut between equal ones
    best = np.flatnonzero(f1 == f1.max())
    return float(middle[best[np.argmin(abs(middle[best] - otherwise))]]) if f1.max() > 0 else otherwise
