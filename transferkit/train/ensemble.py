"""Snapshot ensembles: the minima of cosine cycles, their softmax outputs averaged, kept only where that helps.

Source: Huang et al. 2017, https://arxiv.org/abs/1704.00109
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferkit import metrics


def mean_softmax(logits: Sequence[np.ndarray]) -> np.ndarray:
    """The logarithm of the members' mean softmax output: logits whose softmax is that mean.

    Shapes: each (N, K) -> (N, K).

    >>> sure, unsure = np.array([[20.0, 0.0]]), np.array([[0.0, 0.0]])
    >>> np.exp(mean_softmax([sure, unsure])).round(2).tolist()
    [[0.75, 0.25]]
    """
    mean = np.mean([metrics.softmax(member) for member in logits], axis=0)
    return np.log(np.maximum(mean, np.finfo(np.float64).tiny))


def compare(logits: Sequence[np.ndarray], labels: np.ndarray) -> dict[str, Any]:
    """The block "snapshots" of metrics.json: what the last snapshot and the ensemble of all reach, and which to keep.

    The ensemble is kept if its log loss is lower and its accuracy no lower.

    Shapes: each of logits (N, K), labels (N,).
    """
    single = metrics.scores(logits[-1], labels)
    ensemble = metrics.scores(mean_softmax(logits), labels)
    better = ensemble["loss"] < single["loss"] and ensemble["accuracy"] >= single["accuracy"]
    return {
        "members": len(logits),
        "n": len(labels),
        "single": single["accuracy"],
        "ensemble": ensemble["accuracy"],
        "loss": {"single": single["loss"], "ensemble": ensemble["loss"]},
        "kept": "ensemble" if better else "single",
    }
