"""What an accuracy stands beside: always giving the commonest answer, and giving that of the most similar image."""

import math
from typing import Any

import numpy as np
import torch

from transferkit import metrics
from transferkit.train.first_pass import FirstPass

MOST_WORK = 2e11  # multiplications, a few seconds on two cores; where all images would take more, every n-th is judged
BLOCK = 2048  # images against as many in a step: their similarities take 16 MB


def of(taken: FirstPass, rows: np.ndarray) -> dict[str, Any]:
    """The block "baselines" beside the scores of the images of `rows` (n,), judged by training and validation images.

    Returns: "commonest", the share of `rows` that have the commonest answer of those images, and which that is;
    "nearest", the share right where each is given the label of the image with the most similar frozen features (1-NN by
    cosine), and "n", of how many; None where no features are at hand. An image that may train is answered neither by
    itself nor by its copies or an image of its group.
    """
    listing = taken.listing
    answers, fitted = listing.task.sets(listing.labels), np.flatnonzero(listing.parts != "test")
    names, counts = np.unique(answers[fitted], return_counts=True)
    commonest = names[counts.argmax()]
    example = fitted[np.flatnonzero(answers[fitted] == commonest)[0]]
    return {
        "commonest": {
            "label": listing.task.text(listing.labels[example], listing.classes),
            "accuracy": float((answers[rows] == commonest).mean()),
        },
        "nearest": _nearest(taken, rows, fitted, answers),
    }


def _nearest(taken: FirstPass, rows: np.ndarray, fitted: np.ndarray, answers: np.ndarray) -> dict[str, Any] | None:
    if taken.features is None:
        return None
    features = taken.features.plain
    fitted = fitted[np.isfinite(features[fitted, 0])]
    rows = rows[np.isfinite(features[rows, 0])]
    rows = rows[:: math.ceil(len(rows) * len(fitted) * features.shape[1] / MOST_WORK) or 1]
    unit = np.arange(len(features)) if taken.groups is None else metrics.units(taken.groups)
    unit = np.where(taken.listing.parts == "test", -1, unit)  # nobody's who may answer
    neighbours = nearest(features, rows, fitted, unit=unit)
    rows, neighbours = rows[neighbours >= 0], neighbours[neighbours >= 0]
    if not len(rows):
        return None
    return {"accuracy": float((answers[rows] == answers[neighbours]).mean()), "n": len(rows)}


def nearest(features: np.ndarray, rows: np.ndarray, among: np.ndarray, *, unit: np.ndarray) -> np.ndarray:
    """For each of `rows` the one of `among` with the most similar features that is of another unit; -1 if none is.

    Shapes: features (N, D), rows (n,), among (m,), unit (N,) -> (n,).
    """
    found = np.full(len(rows), -1)
    for start in range(0, len(rows), BLOCK):
        own = rows[start : start + BLOCK]
        best, here = torch.full((len(own),), -torch.inf), _directions(features[own])
        for first in range(0, len(among), BLOCK):
            others = among[first : first + BLOCK]
            similarity = here @ _directions(features[others]).T  # (n, m)
            similarity[torch.from_numpy(unit[own][:, None] == unit[others][None])] = -torch.inf
            closest, at = similarity.max(1)
            is_closer = (closest > best).numpy()
            found[start : start + BLOCK][is_closer] = others[at.numpy()[is_closer]]
            best = torch.maximum(best, closest)
    return found


def _directions(features: np.ndarray) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(features), dim=1)
