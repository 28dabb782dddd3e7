"""finetune: all stages that are not frozen are trained from a fresh head on."""

from functools import partial
from typing import TYPE_CHECKING

from transferkit.options import Options
from transferkit.train.strategies.base import Strategy
from transferkit.train.strategies.full_batch import FullBatch

if TYPE_CHECKING:
    from transferkit.train.fitted import Fitted
    from transferkit.train.modes import TrainingMode
    from transferkit.train.problem import Problem

BEST_EPOCH = 0.95  # of all; docs/design.md says what was measured


class Finetune(Strategy):
    """Train the network by mini-batches, the head at a higher rate as it starts at random."""

    name = "finetune"
    help = "train all stages"
    needs_features = False
    lr_search = "network"

    def variant(self, options: Options) -> Strategy:
        """On the full batch by L-BFGS, else by mini-batches."""
        return FinetuneOnFullBatch() if options.optimizer == "lbfgs" else self

    def expected_best(self, images: int, *, epochs: int) -> int:
        """One of the last: from a fresh head there is much to learn, and what is left is found at low rates."""
        return max(round(BEST_EPOCH * epochs), 1)

    def run(self, problem: "Problem") -> "Fitted":
        """Train the network."""
        from transferkit.train import fitted, modes

        mode = self.mode(problem)
        return fitted.trained(problem, mode, modes.descend(problem, mode))

    def mode(self, problem: "Problem") -> "TrainingMode":
        """Through the network; it restarts from where it is now."""
        from transferkit.train import modes, state

        restart = partial(problem.model.load_state_dict, state.snapshot(problem.model))
        return modes.through_network(problem, name=self.name, restart=restart, head_factor=modes.FRESH_HEAD_FACTOR)


class FinetuneOnFullBatch(FullBatch, Finetune):
    """Train the network by L-BFGS."""
