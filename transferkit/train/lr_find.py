"""Which learning rate to take: what short runs at several of them, all from the same start, say."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from transferkit import kinds
from transferkit.train import loop
from transferkit.train.modes import TrainingMode
from transferkit.train.problem import Problem
from transferkit.train.schedule import Schedule
from transferkit.train.strategies import Strategy
from transferkit.zoo.errors import DivergedError

VERY_HIGH, HIGH, GOOD, LOW = "very high", "high", "good", "low"
TOLERANCE = 0.05  # of the best descent; a rate that goes this much less far is as good
QUARTER = 0.25  # of the steps, over which losses are averaged: single batches are noise


@dataclass(frozen=True)
class Trial:
    """A short run at one learning rate: the training loss before each step, from the same start for all rates.

    It may end early, with a loss that is not finite.
    """

    lr: float
    losses: tuple[float, ...]

    @property
    def end(self) -> float:
        """The mean loss over the last quarter of the steps; infinite if any loss is not finite."""
        last = self.losses[-math.ceil(QUARTER * len(self.losses)) :]
        return float(np.mean(last)) if all(map(math.isfinite, self.losses)) else math.inf


def try_each(problem: Problem, strategy: Strategy, rates: Sequence[float], *, steps: int) -> Iterator[Trial]:
    """Train as `strategy` begins at each of `rates` for `steps` steps, or until the loss is not finite."""
    for lr in rates:
        changed = replace(problem, hyperparameters=replace(problem.hyperparameters, lr=lr))
        mode = strategy.mode(changed)
        yield Trial(lr, tuple(_losses(mode, changed, steps=steps)))
        mode.restart()


def _losses(mode: TrainingMode, problem: Problem, *, steps: int) -> Iterator[float]:
    plan = replace(kinds.present(problem.context.plan), schedule=Schedule(name="constant", epochs=1))
    optimizer, inputs = mode.optimizer(), loop.counted(mode.loader, problem.context.reporter)
    epochs = (
        loop.train_steps(mode.network, optimizer, inputs, problem.train, replace(plan, first_epoch=epoch))
        for epoch in itertools.count()
    )
    try:
        for step in itertools.islice(itertools.chain.from_iterable(epochs), steps):
            yield step.loss
    except DivergedError:
        yield math.inf


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """The learning rate to take, the lowest and the highest good one that was tried, and a word for each trial.

    Fields: below and above, the rates tried next to the good ones; None where the good ones reach the end.
    """

    trials: tuple[Trial, ...]
    lr: float
    low: float
    high: float
    below: float | None
    above: float | None
    words: tuple[str, ...]

    @property
    def span(self) -> str:
        """The range of good rates in words, and what is known of the rates on either side of it."""
        good = f"good from {self.low:.2g} to {self.high:.2g}" if self.low < self.high else "the only good one tried"
        below = "none lower was tried" if self.below is None else f"{self.below:.2g} is too low"
        above = "none higher was tried" if self.above is None else f"{self.above:.2g} is too high"
        return f"{good}; {below}, {above}"


def suggest(trials: Sequence[Trial]) -> Suggestion:
    """The geometric middle of the range of good rates, and the word of each trial: very high, high, good or low.

    Good is the rate of the lowest loss at the end, with its neighbours whose loss fell at least 95 % as far. A share of
    the descent, unlike one of the loss, stays the same when a constant is added, as label smoothing or L2 do. Below the
    range is low. Above it is high if the loss still fell, and very high if it rose or is not finite.

    The middle, because the loss against the logarithm of the rate is flat at the bottom and steep at both ends, and the
    steep end on the right is a cliff: the top of the range is where the next seed or layer may fall over it, while in
    the middle both ends are equally many times away. Not lower, because a schedule takes the rate down later, so the
    long run bears a higher rate than the short one at a constant rate.

    Raises: DivergedError if the loss fell at no rate.
    Source: that the best rate is within a factor of about 2 of the largest stable one is from Bengio 2012,
    https://arxiv.org/abs/1206.5533

    >>> curves = {0.01: (2.0, 1.9, 1.9), 0.1: (2.0, 1.1, 1.0), 1.0: (2.0, 1.2, 1.02), 10.0: (2.0, 9.0, math.inf)}
    >>> found = suggest([Trial(lr, losses) for lr, losses in curves.items()])
    >>> round(found.lr, 3), found.words
    (0.316, ('low', 'good', 'good', 'very high'))
    >>> found.span
    'good from 0.1 to 1; 0.01 is too low, 10 is too high'
    """
    ordered = sorted(trials, key=lambda trial: trial.lr)
    start = _start(ordered[0])
    ends = [trial.end for trial in ordered]
    best = first = last = int(np.argmin(ends))
    if not ends[best] < start:
        raise DivergedError(f"the loss fell at none of the learning rates from {ordered[0].lr:g} up; try lower ones")
    most = start - (1 - TOLERANCE) * (start - ends[best])
    while first > 0 and ends[first - 1] <= most:
        first -= 1
    while last + 1 < len(ends) and ends[last + 1] <= most:
        last += 1
    rates = [trial.lr for trial in ordered]
    low, high = rates[first], rates[last]

    def word(trial: Trial) -> str:
        if trial.lr < low:
            return LOW
        if trial.lr <= high:
            return GOOD
        return HIGH if trial.end < start else VERY_HIGH

    return Suggestion(
        trials=tuple(trials),
        lr=math.sqrt(low * high),
        low=low,
        high=high,
        below=rates[first - 1] if first > 0 else None,
        above=rates[last + 1] if last + 1 < len(rates) else None,
        words=tuple(map(word, trials)),
    )


def _start(lowest: Trial) -> float:
    """The loss before training: that of the first batch, or the mean of the first quarter where that is higher.

    The first batch may be an easy one, and at the lowest rate the loss hardly moves over a quarter of the steps.
    """
    return max(lowest.losses[0], float(np.mean(lowest.losses[: math.ceil(QUARTER * len(lowest.losses))])))
