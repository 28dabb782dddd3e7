"""Between a probe and the network fine-tuned from it: weights part of the way, as far as the validation images say.

Source: Wortsman et al. 2022, section 3 (weights on the way between two networks), https://arxiv.org/abs/2109.01903
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch

from transferkit import metrics, ranks
from transferkit.train import outputs
from transferkit.train.descent import Descent
from transferkit.train.modes import TrainingMode
from transferkit.train.problem import Problem
from transferkit.train.state import State

SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # of the way
LEAST = 0.05  # less of the way is none
JUDGED = 2000  # validation images at most that a share is judged by


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """A descent whose network has weights `share` of the way; note says what was tried, and what each came to."""

    descended: Descent
    note: str


def between(start: State, end: State, share: float) -> State:
    """The weights `share` of the way from `start` to `end`; what is counted, not learnt, is that of `end`."""
    return {
        name: torch.lerp(start[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in end.items()
    }


def find(problem: Problem, mode: TrainingMode, descended: Descent, *, start: State, end: State) -> Mixture:
    """Leave in the network the weights on the way from `start`, a probe's, to `end`, where the descent has led.

    How far: the mean of the posterior over `SHARES`, all equally likely before the validation images are seen. So a few
    images that favour one end move it from the middle by a little, and many move it there. Should a ridge lie between
    the ends, so that the loss there is above the line between theirs and clearly above the least, it is the best share.
    """
    val = problem.val
    judges = val.rows[:: math.ceil(len(val.rows) / JUDGED)]
    labels = val.labels[judges]

    def answers(share: float, rows: np.ndarray) -> np.ndarray:
        mode.network.load_state_dict(between(start, end, share))
        return outputs.logits_of(mode.network, mode.loader, rows, num_classes=val.num_classes)

    losses = np.stack([val.task.log_losses(answers(share, judges), labels) for share in SHARES])  # (S, n)
    share = _posterior_mean(losses)
    there, best = val.task.log_losses(answers(share, judges), labels), int(losses.mean(1).argmin())
    line = (1 - share) * losses[0].mean() + share * losses[-1].mean()
    if there.mean() > line and metrics.is_better(losses[best], there):
        share = SHARES[best]
    share = ranks.from_first(0.0 if share < LEAST else round(share, 2))
    logits = answers(share, val.rows)
    mixed = dataclasses.replace(descended, logits=logits, share=share)
    loss = float(val.task.log_losses(logits, val.labels[val.rows]).mean())
    return Mixture(descended=mixed, note=_note(losses, share, loss))


def _posterior_mean(losses: np.ndarray) -> float:
    """The mean share, each as likely as it makes the labels. Shapes: log losses (S, n), in nats."""
    total = losses.sum(1, dtype=np.float64)
    weights = np.exp(total.min() - total)
    return float(weights @ np.array(SHARES) / weights.sum())


def _note(losses: np.ndarray, share: float, loss: float) -> str:
    probe, *_, tuned = losses
    gain = (probe - tuned).astype(np.float64)
    error = 1.96 * gain.std(ddof=1) / math.sqrt(len(gain)) if len(gain) > 1 else math.inf
    way = ", ".join(f"{each:.3f}" for each in losses.mean(1))
    if share == 0:
        kept = "the probe is kept"
    elif share == 1:
        kept = "the fine-tuned network is kept"
    else:
        kept = f"the weights {100 * share:.0f} % of the way from the probe to the fine-tuned network are kept"
    return (
        f"{kept}: log loss {loss:.3f} on the validation images; on the way in steps of 20 %, by {len(probe)} of them: "
        f"{way}; fine-tuning gains {gain.mean():.3f} ± {error:.3f}"
    )
