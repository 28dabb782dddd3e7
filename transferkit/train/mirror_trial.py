"""Whether the mean of the answers for an image and its mirror image is better than the answer for the image alone."""

import math
from typing import Any

import numpy as np

from transferkit import ranks
from transferkit.options import Options
from transferkit.tasks import Task
from transferkit.trust import calibration

NAME = "mirror averaging"


def compare(plain: np.ndarray, averaged: np.ndarray, labels: np.ndarray, task: Task) -> dict[str, Any]:
    """The block "tta" of metrics.json: what both reach, the gain in calibrated loss, its 95 % interval, which is used.

    The mean is used if its log loss is lower. That need not be clear from a few images: to a network that is fitted to
    both kinds they are alike, and then the loss of the mean, as it is convex, is at most that of an image alone.

    Shapes: logits (n, K) of both on the images that judge, labels (n, ...).
    """
    before, after = (calibration.losses(logits, labels, task).astype(np.float64) for logits in (plain, averaged))
    right, right_after = (float(task.right(logits, labels).mean()) for logits in (plain, averaged))
    gain, n = before - after, len(labels)
    half = 1.96 * float(gain.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    mean = float(gain.mean())
    return ranks.from_first({
        "n": n,
        "loss": {"plain": float(before.mean()), "averaged": float(after.mean())},
        "accuracy": {"plain": right, "averaged": right_after},
        "gain": mean,
        "interval": [mean - half, mean + half] if n > 1 else None,
        "used": mean > 0,
    })  # fmt: skip


def note(block: dict[str, Any]) -> str:
    """What came of it, in a line."""
    loss = block["loss"]
    figures = f"calibrated loss {loss['averaged']:.3f} against {loss['plain']:.3f} without, on {block['n']:,} images"
    if block["interval"]:
        low, high = block["interval"]
        figures += f", a gain of {block['gain']:.4f} (95 % interval {low:.4f} to {high:.4f})"
    if block["used"]:
        return f"{NAME} is used, at twice the time an image: {figures}"
    return f"{NAME} is not used, it is no better: {figures}"


def untried(options: Options) -> str:
    """Why nothing was compared: the network, or its head, was not fitted to mirror images."""
    given = "--views 1" if options.mirrors else f"--augment {options.augment}"
    return f"{NAME} is not used: with {given} nothing is fitted to mirror images"
