"""What a fitted network is worth: on the test images if there are any, else on those that validated it."""

from typing import Any

import numpy as np

from transferkit import metrics
from transferkit.data import copies
from transferkit.data.source import absolute
from transferkit.train.intake import Intake
from transferkit.train.strategies import Fitted

Judged = tuple[str, str, str, float]  # path, label, predicted, probability of that


def judge(fitted: Fitted, taken: Intake) -> tuple[dict[str, Any], list[Judged]]:
    """The scores for metrics.json, and what was said of each judged image: test, else validation."""
    listing = taken.listing
    rows, logits = fitted.rows, fitted.logits
    seen = copies.seen(listing.parts, taken.contents)
    by_folds = (listing.parts[rows] == "train").any()  # which never divide copies
    scores = {"val": _scores(logits, listing.labels[rows], seen[rows] & ~by_folds), "test": None}
    scores["classes"] = list(listing.classes)
    test_rows = np.flatnonzero(listing.parts == "test")
    if len(test_rows):
        rows, logits = test_rows, fitted.predict(test_rows)
        scores["test"] = _scores(logits, listing.labels[rows], seen[rows])
    probabilities = metrics.softmax(logits)
    judged = [
        (
            absolute(listing.paths[row]),
            listing.classes[listing.labels[row]],
            listing.classes[chosen],
            float(p[chosen]),
        )
        for row, p, chosen in zip(rows, probabilities, probabilities.argmax(1))
    ]
    notes = [*fitted.notes, *copies.contradiction(listing, taken.contents)]
    return scores | {"kept": fitted.kept, "notes": notes, "snapshots": fitted.snapshots}, judged


def _scores(logits: np.ndarray, labels: np.ndarray, seen: np.ndarray) -> dict[str, Any]:
    return metrics.scores(logits, labels) | metrics.seen_scores(logits, labels, seen)
