"""auto: lp-ft, of which as much is kept as unseen images speak for; with snapshots, all of it or the probe."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from transferkit import kinds
from transferkit.choices import BACKBONE, HALF
from transferkit.options import Options
from transferkit.train.strategies.base import LEAST_BATCH, MOST_BATCH, Strategy
from transferkit.train.strategies.full_batch import FullBatch
from transferkit.train.strategies.lp_ft import LpFt, from_probe
from transferkit.train.strategies.probe import Probe
from transferkit.zoo.errors import DivergedError

if TYPE_CHECKING:
    from transferkit.train.descent import Descent
    from transferkit.train.fitted import Fitted
    from transferkit.train.head import ProbeFit
    from transferkit.train.modes import TrainingMode
    from transferkit.train.problem import Problem

EPOCHS = 4  # how far to go is chosen afterwards
EPOCHS_OF_FEW = 8  # of each fit to few images
THIRD = 1 / 3  # of few images, for the first of three fits to be judged by
STEPS_OF_FEW = 5  # an epoch, at least, where that leaves batches of `LEAST_BATCH` or more
LOOKS = 7  # at each of the shares, and at the one that is chosen
OF_MEAN = 2  # of several fits: at their mean, and by each of them at images that it has seen


class Auto(LpFt):
    """Between probe and lp-ft, of few images half of the stages on three parts of them; if frozen, a probe."""

    name = "auto"
    help = "lp-ft, then the weights between it and the probe that validation favours"
    without_training = Probe.name

    def variant(self, options: Options) -> Strategy:
        """The probe, where nothing but the head may be trained; on the full batch by L-BFGS."""
        if options.freeze == BACKBONE:
            return Probe().variant(options)
        return AutoOnFullBatch() if options.optimizer == "lbfgs" else self

    def freezes(self, options: Options, *, are_few: bool) -> str | None:
        """Of few images, half of a pretrained network if nothing else is asked for.

        But nothing where images are mixed whose views are kept: frozen stages would see each of them alone.
        """
        mixes_kept = options.views and (options.mixup or options.cutmix)
        suits = self._was_measured(options, are_few=are_few) and not mixes_kept
        return HALF if options.freeze is None and suits else options.freeze

    def validates(self, options: Options, *, are_few: bool) -> float:
        """Of few images a third, so that three fits judge all of them, each by the one that has not seen it."""
        if options.val_fraction is None and self._was_measured(options, are_few=are_few):
            return THIRD
        return super().validates(options, are_few=are_few)

    def _was_measured(self, options: Options, *, are_few: bool) -> bool:
        """Whether it is what the defaults for few images were chosen by: a pretrained network, one network kept."""
        return are_few and options.weights != "none" and not options.snapshots

    def defaults(self, options: Options, images: int, *, are_few: bool) -> dict[str, Any]:
        """Some epochs, of which the share of the way that is kept makes less where that is better."""
        found = super().defaults(options, images, are_few=are_few)
        if options.snapshots:
            return found
        if not are_few:
            return found | {"epochs": options.epochs or EPOCHS}
        size = min(max(images // STEPS_OF_FEW, LEAST_BATCH), MOST_BATCH)
        return found | {"epochs": options.epochs or EPOCHS_OF_FEW, "batch_size": options.batch_size or size}

    def picks_epoch(self, options: Options, *, are_few: bool) -> bool:
        """Not of few images: by those that validate an epoch is chosen by chance, how far to go by all of them."""
        return super().picks_epoch(options, are_few=are_few) and not are_few

    def after(self, options: Options, train: int, val: int, *, are_few: bool) -> tuple[int, int]:
        """Of few images, as many fits as there are folds, and all of them to judge; else those that validate."""
        if options.snapshots:
            return super().after(options, train, val, are_few=are_few)
        if not are_few:
            return 0, LOOKS * val
        from transferkit.tasks.split import fold_count

        count = fold_count(train, val)
        return count * (train + val) - train, (LOOKS + OF_MEAN) * (train + val)

    def run(self, problem: "Problem") -> "Fitted":
        """Solve for the head, train the network from it on, and go back part of the way."""
        from transferkit.train import learning_curve

        probe, mode, put_back = from_probe(problem)
        return learning_curve.beside(_mixed(problem, probe, mode, put_back), problem, probe)


def _mixed(problem: "Problem", probe: "ProbeFit", mode: "TrainingMode", put_back: Callable[[], None]) -> "Fitted":
    """What training the network from the probe on, and going back part of the way, comes to."""
    from transferkit.train import fitted, folds, modes, state, wise_ft

    start = state.snapshot(mode.network)
    problem = replace(problem, context=replace(problem.context, to_the_end=problem.are_few))
    try:
        descended = modes.descend(problem, mode)
    except DivergedError as error:
        put_back()
        note = f"the probe is kept: fine-tuning diverged, {error}"
        return fitted.probed(problem, probe, note, chosen=Probe.name)
    if descended.snapshots is not None:
        return _chosen(problem, probe, mode, descended, put_back)
    first = wise_ft.Way(start=start, end=state.snapshot(mode.network), rows=problem.val.rows)
    soup = folds.mixture(problem, mode, probe, first, descended)
    mixture = soup or kinds.present(wise_ft.find(problem, mode, [first]))
    if not mixture.share:
        put_back()
        by_validation = "" if soup else "the probe"
        kept = fitted.probed(problem, probe, mixture.note, chosen=Probe.name, by_validation=by_validation)
    elif soup:
        kept = fitted.mixed(problem, mode, soup, f"epochs of each fit: {descended.epochs}", *_untouched(problem))
    else:
        found = replace(descended, logits=mixture.logits, share=mixture.share)
        notes = (mixture.note, *_untouched(problem))
        kept = fitted.trained(problem, mode, found, *notes, chosen="how much of fine-tuning to keep")
    return replace(kept, tried=mixture.tried)


def _untouched(problem: "Problem") -> tuple[str, ...]:
    """What the report says of the stages that are frozen, if any are."""
    frozen = [stage for stage in problem.model.stages if stage in problem.model.frozen]
    return (f"frozen: {', '.join(frozen)}",) if frozen else ()


def _chosen(
    problem: "Problem", probe: "ProbeFit", mode: "TrainingMode", descended: "Descent", put_back: Callable[[], None]
) -> "Fitted":
    """The snapshots, if they are clearly better than the probe on the validation images; else that."""
    from transferkit import metrics, ranks
    from transferkit.train import fitted, head
    from transferkit.trust import calibration

    task, labels = problem.val.task, problem.val.labels[problem.val.rows]
    probed = head.validation_logits(problem, probe)
    before, after = (calibration.losses(logits, labels, task) for logits in (probed, descended.logits))
    means = f"{after.mean():.3f} against {before.mean():.3f}"
    figures = f"calibrated loss on the {len(labels)} validation images {means} of the probe"
    if ranks.from_first(metrics.is_better(after, before)):
        return fitted.trained(problem, mode, descended, f"fine-tuning is kept: {figures}", chosen="fine-tuning")
    put_back()
    note = f"the probe is kept, fine-tuning is not clearly better: {figures}"
    about = {"chosen": Probe.name, "by_validation": "the probe", "snapshots": descended.snapshots}
    return fitted.probed(problem, probe, note, **about)


class AutoOnFullBatch(FullBatch, Auto):
    """Between the probe and the network that was trained from it by L-BFGS, all of it."""

    def _was_measured(self, options: Options, *, are_few: bool) -> bool:
        """By L-BFGS nothing was."""
        return False
