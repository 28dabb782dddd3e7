"""How long training takes here: a few batches of it, timed, after which the network is as it was before."""

import time
from dataclasses import dataclass, replace

import numpy as np

from transferkit import kinds
from transferkit.messages import Reporter
from transferkit.model.eval_batch import EVAL_BATCH
from transferkit.train import descent, modes, outputs, state
from transferkit.train.problem import Problem
from transferkit.train.strategies import Strategy

RATE = 1e-9  # so that no step of a network with a fresh head can diverge


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds an image: trained on in a new view, and in one whose activations below the boundary are kept; judged."""

    new: float
    repeated: float
    judged: float

    def training(self, images: int, *, epochs: int, views: int, known: int = 0) -> float:
        """The seconds of that many epochs.

        Args: views that they repeat, 0 for a new one in each; known, how many of the images have been trained on, so
        that what epochs repeat is kept.
        """
        fresh = min(epochs, views or epochs)
        new = fresh * (images - known if views else images)
        return new * self.new + (epochs * images - new) * self.repeated


def measure(problem: Problem, strategy: Strategy, *, views: int) -> Pace:
    """Train on the images of `problem` and judge them, timed once some of them have gone through.

    Args: views, how many of each image the epochs repeat, 0 for new ones.
    """
    plan = replace(kinds.present(problem.context.plan), is_compiled=False)
    hyperparameters = problem.hyperparameters
    rates = {"lr": RATE if hyperparameters.lr else None, "l2": hyperparameters.l2 or 0.0}
    problem = replace(problem, hyperparameters=replace(hyperparameters, **rates))
    before, rows = state.snapshot(problem.model), problem.train.rows
    if strategy.trains_network:
        mode = modes.through_network(problem, name=strategy.name, restart=lambda: None, head_factor=1)
    else:
        mode = modes.on_features(problem, name=strategy.name)

    def epoch(number: int, some: np.ndarray) -> float:
        context = replace(
            problem.context, plan=replace(plan, first_epoch=number, epochs=number + 1), reporter=Reporter()
        )
        optimizer = mode.optimizer()
        examples = replace(problem.train, rows=some)
        descent.judged_network(mode.network, optimizer, examples, plan)  # follows each step
        (record,) = descent.train_epochs(mode.network, optimizer, mode.loader, examples, context)
        return record["seconds"] / len(some)

    def judge() -> float:
        started = time.monotonic()
        outputs.logits_of(
            mode.network, mode.loader, rows, num_classes=problem.train.num_classes, precision=plan.precision
        )
        return (time.monotonic() - started) / len(rows)

    epoch(0, rows[: max(2, min(len(rows) // 3, EVAL_BATCH))])
    new = epoch(1, rows)
    repeated = epoch(1 + views, rows) if views else new
    judge()
    judged = judge()
    problem.model.load_state_dict(before)
    return Pace(new=new, repeated=repeated, judged=judged)
