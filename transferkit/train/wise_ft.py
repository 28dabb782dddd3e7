"""Between a probe and the network fine-tuned from it: weights part of the way, as far as images say that were not seen.

Source: Wortsman et al. 2022, section 3 (weights on the way between two networks), https://arxiv.org/abs/2109.01903
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from transferkit import kinds, metrics, ranks
from transferkit.model.mirror import MirrorAveraged
from transferkit.train import outputs
from transferkit.train.modes import TrainingMode
from transferkit.train.problem import Problem
from transferkit.train.state import State
from transferkit.trust import calibration

SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # of the way
LEAST = 0.05  # less of the way is none
MEAN_GAIN = 0.1  # of the loss of each of several fits, what their mean is spared; docs/design.md says what was measured
JUDGED = 2000  # images at most that a share is judged by


@dataclass(frozen=True, kw_only=True)
class Way:
    """From a probe to the network fine-tuned from it; neither has seen the images of `rows` (n,), which judge it."""

    start: State
    end: State
    rows: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """How far to go: `share` of each way.

    Fields: rows (n,) of all ways in ascending order; logits (n, K), the answer to each by the mixture of the way that
    has not seen it, and mirrored, averaged over mirror images, of several ways where these are wanted; both of several
    ways as sure as their mean is, which is less so; note says what was tried, and what each came to; folds, how many
    ways there are; tried, that block of metrics.json.
    """

    share: float
    rows: np.ndarray
    logits: np.ndarray
    mirrored: np.ndarray | None
    note: str
    folds: int
    tried: dict[str, Any]


def between(start: State, end: State, share: float) -> State:
    """The weights `share` of the way from `start` to `end`; what is counted, not learnt, is that of `end`."""
    return {
        name: torch.lerp(start[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in end.items()
    }


def find(problem: Problem, mode: TrainingMode, ways: Sequence[Way]) -> Mixture | None:
    """Leave in the network the mean of the weights on `ways`, as far as the images speak for that were not seen there.

    How far: the mean of the posterior over `SHARES`, all equally likely before those images are seen. So a few images
    that favour one end move it from the middle by a little, and many move it there. Should a ridge lie between the
    ends, so that the loss there is above the line between theirs and clearly above the least, it is the best share.
    What each of several ways answers is judged, and their mean is kept, which is better: off the probe, whose head has
    one best place, every share is taken to lose `MEAN_GAIN` less than it was seen to.

    Returns: None if the mean of several ways is no network that knows the images, as a ridge lies between these.
    Source: the mean of several, Wortsman et al. 2022, https://arxiv.org/abs/2203.05482
    """
    labels, task = problem.val.labels, problem.val.task
    share, losses, logits = _share(problem, mode, ways)
    rows = np.concatenate([way.rows for way in ways])
    order = np.argsort(rows)
    rows, found = rows[order], logits[order]
    unseen = calibration.losses(found, labels[rows], task)
    mirrored = _mirrored(problem, mode, ways, share) if problem.images and share and len(ways) > 1 else None
    mean, factor = between(_mean([way.start for way in ways]), _mean([way.end for way in ways]), share), 1.0
    if len(ways) > 1:
        of_mean = _answers(problem, mode, mean, rows)
        if ranks.from_first(_is_worse(problem, of_mean, rows, unseen)):
            return None
        if share:  # averaged weights are less sure; as they have seen nearly all images, so are those that are compared
            factor = ranks.from_first(_ratio(of_mean, _of_seen(problem, mode, ways, share)))
    mode.network.load_state_dict(mean)
    note = _note(losses, share, float(unseen.mean()), folds=len(ways), n=len(rows))
    return Mixture(
        share=share,
        rows=rows,
        logits=factor * found,
        mirrored=None if mirrored is None else factor * mirrored[order],
        note=note,
        folds=len(ways),
        tried=_tried(losses, share, float(unseen.mean()), note=note) | {"fits": len(ways)},
    )


def _share(problem: Problem, mode: TrainingMode, ways: Sequence[Way]) -> tuple[float, np.ndarray, np.ndarray]:
    """How far to go; the losses (S, n) on the way; the answers (n, K) there to the rows of way after way."""
    task, labels, every = problem.val.task, problem.val.labels, math.ceil(sum(len(way.rows) for way in ways) / JUDGED)

    def answers(share: float, *, every: int = 1) -> list[np.ndarray]:
        """What the mixture of each way answers to its own rows, or to some of them."""
        return [_answers(problem, mode, between(way.start, way.end, share), way.rows[::every]) for way in ways]

    some = np.concatenate([way.rows[::every] for way in ways])

    def log_losses(logits: list[np.ndarray]) -> np.ndarray:
        return calibration.losses(np.concatenate(logits), labels[some], task)

    losses, reporter = [], problem.context.reporter
    reporter.phase("weighing", len(SHARES) * len(some))
    for share in SHARES:
        losses.append(log_losses(answers(share, every=every)))
        reporter.advance(len(losses[-1]))
    losses = np.stack(losses)  # (S, n)
    weighed = losses * _weights(np.array(SHARES), fits=len(ways))[:, None]
    share = _posterior_mean(weighed)
    share = ranks.from_first(0.0 if share < LEAST else round(share, 2))
    logits = answers(share)
    there = log_losses([each[::every] for each in logits]) * _weights(np.array(share), fits=len(ways))
    if ranks.from_first(_is_ridge(there, share, weighed)):
        share = SHARES[int(weighed.mean(1).argmin())]
        logits = answers(share)
    return share, losses, np.concatenate(logits)


def _mirrored(problem: Problem, mode: TrainingMode, ways: Sequence[Way], share: float) -> np.ndarray:
    """The answers (n, K) of the mixture of each way to its own rows, averaged over mirror images; way after way."""
    twice, images, found = MirrorAveraged(problem.model), kinds.present(problem.images), []
    for way in ways:
        mode.network.load_state_dict(between(way.start, way.end, share))
        mode.settle()
        found.append(outputs.logits_of(twice, images, way.rows, num_classes=problem.val.num_classes))
    return np.concatenate(found)


def _of_seen(problem: Problem, mode: TrainingMode, ways: Sequence[Way], share: float) -> np.ndarray:
    """The answers (n, K) of the mixture of each way to images that it has seen, those that judge the next one."""
    return np.concatenate([
        _answers(problem, mode, between(way.start, way.end, share), after.rows)
        for way, after in zip(ways, [*ways[1:], ways[0]])
    ])  # fmt: skip


def _ratio(logits: np.ndarray, others: np.ndarray) -> float:
    """How sure a network is beside another one: how far its answers are from their mean; 1 where all are the same.

    Shapes: (n, K) each.
    """
    size, of_others = (float(np.square(each - each.mean(0), dtype=np.float64).mean()) for each in (logits, others))
    return math.sqrt(size / of_others) if size and of_others else 1.0


def _is_worse(problem: Problem, logits: np.ndarray, rows: np.ndarray, unseen: np.ndarray) -> bool:
    """Whether a mean knows images that its parts have seen clearly less than the one part knows that has not."""
    return bool(metrics.is_better(unseen, calibration.losses(logits, problem.val.labels[rows], problem.val.task)))


def _answers(problem: Problem, mode: TrainingMode, weights: State, rows: np.ndarray) -> np.ndarray:
    """The logits (n, K) of the network with those weights, which it keeps."""
    mode.network.load_state_dict(weights)
    return outputs.logits_of(mode.network, mode.loader, rows, num_classes=problem.val.num_classes)


def _mean(states: Sequence[State]) -> State:
    """The mean of weights; what is counted, not learnt, is that of the last."""
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if tensor.is_floating_point() else tensor
        for name, tensor in states[-1].items()
    }


def _weights(shares: np.ndarray, *, fits: int) -> np.ndarray:
    """How much a loss at these shares of the way counts, whose mean of so many fits is what is kept. Shapes: (...)."""
    return np.where((shares > 0) & (fits > 1), 1 - MEAN_GAIN, 1.0)


def _is_ridge(there: np.ndarray, share: float, losses: np.ndarray) -> bool:
    """Whether the loss (n,) at a share is above the line between the ends, and clearly above the least of `losses`.

    Shapes: losses (S, n).
    """
    line = (1 - share) * losses[0].mean() + share * losses[-1].mean()
    return bool(there.mean() > line and metrics.is_better(losses[losses.mean(1).argmin()], there))


def _posterior_mean(losses: np.ndarray) -> float:
    """The mean share, each as likely as it makes the labels. Shapes: log losses (S, n), in nats."""
    total = losses.sum(1, dtype=np.float64)
    weights = np.exp(total.min() - total)
    return float(weights @ np.array(SHARES) / weights.sum())


def _note(losses: np.ndarray, share: float, loss: float, *, folds: int, n: int) -> str:
    probe, gain, error = losses[0], *_gain(losses)
    way = ", ".join(f"{each:.3f}" for each in losses.mean(1))
    if share == 0:
        kept = "the probe is kept"
    elif share == 1:
        kept = "the fine-tuned network is kept"
    else:
        kept = f"the weights {100 * share:.0f} % of the way from the probe to the fine-tuned network are kept"
    if folds > 1 and share:
        kept += f", in the mean of {folds} fits"
    of_mean = f", and the mean of the fits about {100 * MEAN_GAIN:.0f} % of the loss more" if folds > 1 else ""
    judges = f"the {n} {'validation' if folds == 1 else 'training and validation'} images"
    return (
        f"{kept}: calibrated loss {loss:.3f} on {judges}; on the way in steps of 20 %, by {len(probe)} of them: {way}; "
        f"fine-tuning gains {gain:.3f} ± {error:.3f}{of_mean}"
    )


def _gain(losses: np.ndarray) -> tuple[float, float]:
    """By how much fine-tuning lowers the calibrated loss, and half of the 95 % interval."""
    gain = (losses[0] - losses[-1]).astype(np.float64)
    return float(gain.mean()), 1.96 * gain.std(ddof=1) / math.sqrt(len(gain)) if len(gain) > 1 else math.inf


def _tried(losses: np.ndarray, share: float, loss: float, *, note: str) -> dict[str, Any]:
    """The block "tried" of metrics.json: the mean calibrated loss on the way, and where on it the weights are."""
    gain, error = _gain(losses)
    return {
        "share": share,
        "loss": loss,
        "way": [[each, float(mean)] for each, mean in zip(SHARES, losses.mean(1))],
        "images": losses.shape[1],
        "note": note,
        "gain": gain,
        "error": error if math.isfinite(error) else None,
    }
