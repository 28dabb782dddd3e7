"""lp-ft: the head is solved for, then the network is trained from it on.

Source: Kumar et al. 2022, section 4, https://arxiv.org/abs/2202.10054
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from transferkit.options import Options
from transferkit.train.strategies.base import Strategy
from transferkit.train.strategies.full_batch import FullBatch

if TYPE_CHECKING:
    from transferkit.train.fitted import Fitted
    from transferkit.train.head import ProbeFit
    from transferkit.train.modes import TrainingMode
    from transferkit.train.problem import Problem

BEST_PASSES = 900  # images, counted once an epoch, until the best epoch; docs/design.md says what was measured


class LpFt(Strategy):
    """Probe, then fine-tune from it, so that a random head's gradients do not tear up the features."""

    name = "lp-ft"
    help = "probe, then fine-tune from it"

    def variant(self, options: Options) -> Strategy:
        """On the full batch by L-BFGS, else by mini-batches."""
        return LpFtOnFullBatch() if options.optimizer == "lbfgs" else self

    def expected_best(self, images: int, *, epochs: int) -> int:
        """An early one: from a probe, the images pass a few times before the network is too sure of them."""
        return min(max(round(BEST_PASSES / images), 1), epochs)

    def run(self, problem: "Problem") -> "Fitted":
        """Solve for the head, then train the network."""
        from transferkit.train import fitted, learning_curve, modes

        probe, mode, _ = from_probe(problem)
        return learning_curve.beside(fitted.trained(problem, mode, modes.descend(problem, mode)), problem, probe)


class LpFtOnFullBatch(FullBatch, LpFt):
    """Probe, then train the network by L-BFGS."""


def from_probe(problem: "Problem") -> "tuple[ProbeFit, TrainingMode, Callable[[], None]]":
    """The probe, the training that begins with its head, which the model has now, and what puts the probe back."""
    from transferkit.train import head, modes, state

    model = problem.model
    untouched = state.snapshot(model)
    found = head.solve_each(problem)

    def restart() -> None:
        model.load_state_dict(untouched)
        found.final.put_into(model)

    mode = modes.through_network(problem, name=LpFt.name, restart=restart, head_factor=1)
    found.of_train.put_into(model)
    return found, mode, restart
