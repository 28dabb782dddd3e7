"""Short runs at several learning rates, all from the same start."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from transferkit.train import loop, state
from transferkit.train.loop import Plan
from transferkit.train.rates import Trial
from transferkit.train.schedule import Schedule
from transferkit.train.ways import FRESH_HEAD_FACTOR, Problem, Way, on_features, through_network
from transferkit.zoo.errors import DivergedError


def run(problem: Problem, rates: Sequence[float], *, steps: int, through: str) -> Iterator[Trial]:
    """Train at each of `rates` for `steps` steps, or until the loss is not finite; yield the losses.

    Args: through is "head", alone on cached features, or "network".
    """
    untouched = state.snapshot(problem.model)
    plan = replace(problem.work.plan, schedule=Schedule(name="constant", epochs=1))
    for lr in rates:
        changed = replace(problem, method=replace(problem.method, lr=lr))
        way = _way(changed, through, restart=partial(problem.model.load_state_dict, untouched))
        yield Trial(lr, tuple(_losses(way, changed, plan, steps=steps)))


def _way(problem: Problem, through: str, *, restart: Callable[[], None]) -> Way:
    if through == "head":
        return on_features(problem)
    restart()
    return through_network(problem, name="finetune", restart=restart, head_factor=FRESH_HEAD_FACTOR)


def _losses(way: Way, problem: Problem, plan: Plan, *, steps: int) -> Iterator[float]:
    optimizer = way.optimizer()
    epochs = (
        loop.train_steps(way.network, optimizer, problem.work.counted(way.supply), problem.train, plan, epoch=epoch)
        for epoch in itertools.count()
    )
    try:
        for step in itertools.islice(itertools.chain.from_iterable(epochs), steps):
            yield step.loss
    except DivergedError:
        yield math.inf
