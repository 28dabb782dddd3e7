"""What several runs come to."""

from typing import Any

import numpy as np

from slides.small import Trained


def over_seeds(values: list[float], baseline: list[float] | None = None) -> dict[str, Any]:
    """The mean and the spread of a number over seeds, and in how many of them it is above its baseline."""
    summary = {"mean": float(np.mean(values)), "low": min(values), "high": max(values)}
    if baseline is not None:
        summary["gain"] = summary["mean"] - float(np.mean(baseline))
        summary["wins"] = sum(value > other for value, other in zip(values, baseline))
    return summary


def paired(hits: list[np.ndarray], *, baseline: list[np.ndarray]) -> dict[str, float]:
    """The gain in accuracy on the same images, a mean over seeds, and its standard error over the images.

    Shapes: of each seed (n,), whether an image was right.
    """
    gains = np.mean(np.array(hits, float) - np.array(baseline, float), axis=0)  # (n,)
    return {"gain": float(gains.mean()), "error": float(gains.std(ddof=1) / np.sqrt(len(gains)))}


def compared(runs: list[Trained], *, baseline: list[Trained]) -> dict[str, Any]:
    """Held-out accuracy over seeds, against the baseline's, and how far that on the training images is above it."""
    found = over_seeds([run.accuracy for run in runs], [run.accuracy for run in baseline])
    train = float(np.mean([run.train_accuracy for run in runs]))
    return found | {"train": train, "gap": train - found["mean"]}
