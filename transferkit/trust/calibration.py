"""Probabilities that are frequencies: logits are divided by one number, the temperature.

Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599; that fits are compared after it, Berta et al. 2025,
https://arxiv.org/abs/2501.19195
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from transferkit import metrics
from transferkit.tasks import Task

SPREAD = 0.2  # of the logarithm of temperatures, before an image is seen: few images do not make one of 2
SPREAD_OF_REFITS = 0.1  # where the network that ships was fitted once more, to those images too: they judge another
SPREAD_TO_COMPARE = 1.0  # where nobody is told probabilities: what is left of a loss by whatever temperature it needs
MOST = 3.0  # of that logarithm
ROUNDS, TRIED = 4, 21  # the range a tenth as wide each time
LOOKED_AT = 2000  # images at most whose temperature fits get to be compared


def temperature(logits: Sequence[np.ndarray], labels: np.ndarray, task: Task, *, spread: float = SPREAD) -> float:
    """By what the logits are divided so that the answers, of several networks their mean, have the least log loss.

    The images must be unseen by the fit that answers. Where all are named right they cannot say how often that fails:
    then it is 1. Of few images it is nearer to 1 than they alone would have it, as much as one expects beforehand that
    its logarithm is normal with deviation `spread`.

    Shapes: logits (n, K) of each network, labels (n, ...).
    """
    exact = [each.astype(np.float64) for each in logits]
    if not len(labels) or bool(task.right(task.mean(exact), labels).all()):
        return 1.0

    def loss(log_temperature: float) -> float:
        answers = task.mean(divided(exact, math.exp(log_temperature)))
        return float(task.log_losses(answers, labels).sum()) + (log_temperature / spread) ** 2 / 2

    low, high = -MOST, MOST
    for _ in range(ROUNDS):
        tried = np.linspace(low, high, TRIED)
        best = tried[np.argmin([loss(each) for each in tried])]
        low, high = best - tried[1] + tried[0], best + tried[1] - tried[0]
    return math.exp(best)


def losses(logits: np.ndarray, labels: np.ndarray, task: Task) -> np.ndarray:
    """The log losses of a fit once it is calibrated, by which fits are compared whose temperature is found afterwards.

    A network that is trained on is right more often, and much too sure of it, long after its plain loss began to rise.

    Shapes: logits (n, K), labels (n, ...) -> (n,), in nats.
    """
    some = slice(None, None, math.ceil(len(labels) / LOOKED_AT) or 1)
    return task.log_losses(logits / temperature([logits[some]], labels[some], task, spread=SPREAD_TO_COMPARE), labels)


def divided(logits: Sequence[np.ndarray], temperature: float) -> list[np.ndarray]:
    """The logits of each network at a temperature."""
    return [each / temperature for each in logits]


def reliability(logits: np.ndarray, labels: np.ndarray, task: Task) -> dict[str, Any]:
    """How far probabilities are from frequencies: "ece", "loss", and "bins" of [said, right, answers].

    Shapes: logits (n, K), labels (n, ...).
    """
    said, right = task.stated(task.probabilities(logits.astype(np.float64)), labels)
    return {
        "ece": metrics.calibration_error(said, right),
        "loss": float(task.log_losses(logits, labels).mean()),
        "bins": [[float(mean), float(share), int(count)] for count, mean, share in metrics.reliability(said, right)],
    }
