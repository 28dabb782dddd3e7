"""Snapshot ensembles: the minima of cosine cycles, their probabilities averaged, kept only where that helps.

Source: Huang et al. 2017, https://arxiv.org/abs/1704.00109
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferkit.tasks import SINGLE_LABEL, Task


def compare(logits: Sequence[np.ndarray], labels: np.ndarray, task: Task = SINGLE_LABEL) -> dict[str, Any]:
    """The block "snapshots" of metrics.json: what the last snapshot and the ensemble of all reach, and which to keep.

    The ensemble is kept if its log loss is lower and its accuracy no lower.

    Shapes: each of logits (N, K), labels (N, ...).
    """
    single = task.scores(logits[-1], labels)
    ensemble = task.scores(task.mean(logits), labels)
    better = ensemble["loss"] < single["loss"] and ensemble["accuracy"] >= single["accuracy"]
    return {
        "members": len(logits),
        "n": len(labels),
        "single": single["accuracy"],
        "ensemble": ensemble["accuracy"],
        "loss": {"single": single["loss"], "ensemble": ensemble["loss"]},
        "chosen": "ensemble" if better else "single",
    }
