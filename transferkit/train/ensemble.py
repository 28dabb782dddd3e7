"""Snapshot ensembles: the minima of cosine cycles, their probabilities averaged, kept only where that helps.

Source: Huang et al. 2017, https://arxiv.org/abs/1704.00109
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferkit.tasks import SINGLE_LABEL, Task
from transferkit.trust import calibration


def compare(logits: Sequence[np.ndarray], labels: np.ndarray, task: Task = SINGLE_LABEL) -> dict[str, Any]:
    """The block "snapshots" of metrics.json: what the last snapshot and the ensemble of all reach, and which to keep.

    The ensemble is kept if its calibrated log loss is lower and its accuracy no lower.

    Shapes: each of logits (N, K), labels (N, ...).
    """
    answers = {"single": logits[-1], "ensemble": task.mean(logits)}
    right = {name: task.scores(each, labels)["accuracy"] for name, each in answers.items()}
    loss = {name: float(calibration.losses(each, labels, task).mean()) for name, each in answers.items()}
    better = loss["ensemble"] < loss["single"] and right["ensemble"] >= right["single"]
    return {
        "members": len(logits),
        "n": len(labels),
        **right,
        "loss": loss,
        "chosen": "ensemble" if better else "single",
    }
