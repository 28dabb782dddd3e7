"""auto: lp-ft, but the probe is kept unless fine-tuning is clearly better on the validation images."""

from typing import TYPE_CHECKING

from transferkit.options import Options
from transferkit.train.strategies.base import Strategy
from transferkit.train.strategies.full_batch import FullBatch
from transferkit.train.strategies.lp_ft import from_probe
from transferkit.train.strategies.probe import Probe
from transferkit.zoo.errors import DivergedError

if TYPE_CHECKING:
    from transferkit.train.fitted import Fitted
    from transferkit.train.problem import Problem


class Auto(Strategy):
    """Choose between probe and lp-ft by validation; a frozen backbone leaves the probe alone."""

    name = "auto"
    help = "lp-ft, but keep the probe unless it is clearly beaten"

    def variant(self, options: Options) -> Strategy:
        """The probe, where nothing but the head may be trained; on the full batch by L-BFGS."""
        if options.freeze == "backbone":
            return Probe().variant(options)
        return AutoOnFullBatch() if options.optimizer == "lbfgs" else self

    def run(self, problem: "Problem") -> "Fitted":
        """Solve for the head, train the network from it on, compare."""
        from transferkit import metrics, ranks
        from transferkit.train import fitted, head, modes

        probe, mode, put_back = from_probe(problem)
        try:
            descended = modes.descend(problem, mode)
        except DivergedError as error:
            put_back()
            note = f"the probe is kept: fine-tuning diverged, {error}"
            return fitted.probed(problem, probe, note, chosen=Probe.name)
        task, labels = problem.val.task, problem.val.labels[problem.val.rows]
        probed = head.validation_logits(problem, probe)
        before, after = (task.log_losses(logits, labels) for logits in (probed, descended.logits))
        means = f"{after.mean():.3f} against {before.mean():.3f}"
        figures = f"loss on the {len(labels)} validation images {means} of the probe"
        if ranks.from_first(metrics.is_better(after, before)):
            return fitted.trained(problem, mode, descended, f"fine-tuning is kept: {figures}")
        put_back()
        note = f"the probe is kept, fine-tuning is not clearly better: {figures}"
        return fitted.probed(problem, probe, note, chosen=Probe.name, snapshots=descended.snapshots)


class AutoOnFullBatch(FullBatch, Auto):
    """Choose between the probe and training the network by L-BFGS."""
