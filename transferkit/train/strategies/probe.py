"""probe: a head on features computed once, solved for exactly, or trained by mini-batches where options ask for it."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from transferkit.option import dashed
from transferkit.options import Options
from transferkit.train.strategies.base import Strategy, batch_defaults, default_l2
from transferkit.zoo.errors import UsageError

if TYPE_CHECKING:
    from transferkit.train.fitted import Fitted
    from transferkit.train.modes import TrainingMode
    from transferkit.train.plan import Plan
    from transferkit.train.problem import Problem

HEAD_PASSES = 30_000  # a head on cached features sees about as many images, whose epochs take milliseconds
MIN_EPOCHS, MAX_EPOCHS = 10, 100
NEED_BATCHES = ("dropout", "dropconnect", "snapshots", "schedule")


class Probe(Strategy):
    """Solve for a head on the features, by L-BFGS over all images at once."""

    name = "probe"
    help = "fit the head alone"
    trains_network = False
    fits_on_batches = False
    manner = "the head is solved for exactly"
    optimizer = "lbfgs"

    def variant(self, options: Options) -> Strategy:
        """The head trained by mini-batches where an optimiser, a schedule, snapshots or dropping are asked for."""
        asked = any(getattr(options, name) for name in NEED_BATCHES)
        if options.optimizer is None:
            return HeadOnBatches() if asked else self
        return self if options.optimizer == "lbfgs" else HeadOnBatches()

    def check(self, options: Options) -> None:
        """Refuse what a head alone, and what L-BFGS, cannot take. Raises: UsageError."""
        if options.freeze not in (None, "backbone"):
            raise UsageError(
                f"--strategy probe freezes the whole backbone; drop --freeze {options.freeze} or use lp-ft"
            )
        if options.optimizer == "lbfgs":
            for name in (*NEED_BATCHES, "batch_size"):
                if getattr(options, name):
                    raise UsageError(
                        f"--optimizer lbfgs fits a head to all images at once and takes no {dashed(name)}; drop one"
                    )
        if options.views == 0:
            raise UsageError("a head alone is fitted to features computed once a view; allowed: --views 1 or more")
        if (options.views or 1) > 1 and options.augment == "none":
            raise UsageError(f"--augment none gives one view of an image, as it is; drop --views {options.views}")
        if options.compile:
            raise UsageError("a head alone has no network to train that --compile would speed up; drop one")

    def freezes(self, options: Options, *, are_few: bool) -> str | None:
        """All but the head."""
        return "backbone"

    def feature_views(self, options: Options) -> int:
        """As many as asked for."""
        return options.views or super().feature_views(options)

    def takes_one_pass(self, options: Options) -> bool:
        """Whether no augmented views are asked for."""
        return self.feature_views(options) <= super().feature_views(options)

    def defaults(self, options: Options, images: int, *, are_few: bool) -> dict[str, Any]:
        """All images at once, no numbers of batches."""
        return {"optimizer": self.optimizer, "batch_size": None}

    def plan(self, options: Options) -> "Plan | None":
        """None: nothing is trained by mini-batches."""
        return None

    def run(self, problem: "Problem") -> "Fitted":
        """Solve for the head."""
        from transferkit.train import fitted, head, learning_curve

        found = head.solve(problem, l2=problem.hyperparameters.l2)
        return learning_curve.beside(fitted.probed(problem, found, chosen=self.name), problem, found)


class HeadOnBatches(Probe):
    """Train a head on the features by mini-batches; with the L2 given, or the best one of the exact solution."""

    fits_on_batches = True
    manner = "the head alone is trained"
    optimizer = "adam"
    lr_search = "head"

    def defaults(self, options: Options, images: int, *, are_few: bool) -> dict[str, Any]:
        """As for a network, but Adam, more epochs, and the L2 left to cross-validation."""
        optimizer = options.optimizer or self.optimizer
        epochs = min(max(round(HEAD_PASSES / images), MIN_EPOCHS), MAX_EPOCHS)
        return batch_defaults(options, images, optimizer=optimizer, epochs=epochs) | {
            "l2": default_l2(options, optimizer, otherwise=None)
        }

    def plan(self, options: Options) -> "Plan | None":
        """In single precision and without clipping: a clipped gradient would outweigh less L2."""
        from transferkit import runtime
        from transferkit.train.plan import plan_of

        return replace(plan_of(options, phase="head", precision=runtime.FP32), max_gradient_norm=None)

    def run(self, problem: "Problem") -> "Fitted":
        """Look for the L2 if none is given, then train the head."""
        from transferkit.train import fitted, head, modes

        notes = ()
        if problem.hyperparameters.l2 is None:
            found = head.solve(problem, l2=None)
            loss = head.validation_loss(problem, found)
            by = "cross-validation" if found.by_cross_validation else "the validation images"
            notes = (f"L2 {found.l2:g} by {by}; solved for by L-BFGS the head has validation loss {loss:.3f}",)
            problem = replace(problem, hyperparameters=replace(problem.hyperparameters, l2=found.l2))
        mode = self.mode(problem)
        return fitted.trained(problem, mode, modes.descend(problem, mode), *notes)

    def mode(self, problem: "Problem") -> "TrainingMode":
        """The head alone, on the features."""
        from transferkit.train import modes

        return modes.on_features(problem, name=self.name)
