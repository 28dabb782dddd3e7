"""Scores of classes that are each a yes or a no."""

from collections.abc import Sequence
from typing import Any

import numpy as np


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
    """mAP, micro and macro F1, and those of each class; mAP and macro F1 are over the classes that some image has.

    Shapes: probabilities (N, K), labels (N, K) bool, thresholds (K,).
    """
    said = probabilities > thresholds
    hits, named, images = (labels & said).sum(0), said.sum(0), labels.sum(0)
    per_class = [
        {
            "ap": precision,
            "precision": _share(hits[k], named[k]),
            "recall": _share(hits[k], images[k]),
            "f1": _share(2 * hits[k], named[k] + images[k]) if images[k] else None,
            "threshold": float(thresholds[k]),
            "images": int(images[k]),
            "named": int(named[k]),
        }
        for k, precision in enumerate(average_precisions(probabilities, labels))
    ]
    return {
        "mAP": mean_of([one["ap"] for one in per_class]),
        "micro_f1": _share(2 * hits.sum(), named.sum() + images.sum()) or 0.0,
        "macro_f1": mean_of([one["f1"] for one in per_class]),
        "per_class": per_class,
    }


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
