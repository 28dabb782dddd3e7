"""From what is prepared to what is learnt of it: a run that is judged and written, or a learning rate to take."""

import time
from dataclasses import asdict, replace
from typing import Any

from transferkit import caches, evaluate, inspection, kinds, policy, ranks
from transferkit.choices import LR
from transferkit.config import ResolvedConfig
from transferkit.data import augment
from transferkit.messages import Reporter
from transferkit.network import space_for
from transferkit.preparation import Prepared, pool_of, problem_of, read_images
from transferkit.progress import Progress
from transferkit.ship import record, runs
from transferkit.ship.begun import Begun
from transferkit.ship.runs import RunFolder
from transferkit.train import lr_find, mirror_trial
from transferkit.train.context import FitContext
from transferkit.train.first_pass import FirstPass
from transferkit.train.fitted import Fitted
from transferkit.train.lr_find import Suggestion
from transferkit.train.plan import Plan
from transferkit.train.problem import Problem
from transferkit.train.step import MicroBatches
from transferkit.train.strategies import Strategy
from transferkit.zoo.errors import DivergedError

RATE_FACTORS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)  # of the optimiser's default


def train(
    run: RunFolder, prepared: Prepared, old: Begun | None, *, started: float, progress: Progress
) -> dict[str, Any]:
    """Read the images, fit the network, judge it and write all of it to the run's folder; the contents of metrics.json.

    Args: old, the run that is gone on with; if it is finished, nothing is trained.
    """
    changes = old.check(prepared.hashes, device=prepared.device, engine=prepared.augment.engine) if old else []
    finished = ranks.from_first(record.finished(run) if ranks.is_first() else None) if old else None
    if not finished and ranks.is_first():
        runs.check_space(run.place, space_for(prepared.given, prepared.model))
    if finished and prepared.extractor and not prepared.extractor.remembers:  # to compare images, hashes are enough
        prepared = replace(prepared, extractor=None)
    with pool_of(prepared) as pool:  # its processes start while this one reads the images
        taken, config = read_images(prepared, progress, pool=pool)
        given, trial = asdict(prepared.asked), old.augmentation if old else {}
        if old:
            old.check_images(run.place, taken.listing, taken.sha256)
        if finished:
            progress.say(f"{run.path} is finished: its model is in {run.path / 'model'}")
            return finished
        if changes:
            progress.say(f"no longer bit-exact: {', '.join(changes)}")
        augment.tell_engine(prepared.augment, progress)
        if old:  # what was left then; options that are given again after a restart do not say it
            left = old.record["config"]["augment"]
            prepared, taken, config = policy.applied(prepared, taken, config, augment=left)
        else:
            prepared, taken, config, trial = policy.tried(prepared, taken, config, progress, pool=pool)
        if ranks.is_first():
            run.listeners.open(run.place, asdict(config), name=str(run.path), say=progress.say)
            if not old:
                about = {"config": asdict(config), "given": given, "device": prepared.device, "augmentation": trial}
                about |= {"engine": prepared.augment.engine}
                record.start(run, about | {"hashes": prepared.hashes}, taken)
            record.begin(run, taken)
        untried = [mirror_trial.untried(prepared.given)] * (config.tta and not prepared.fits_mirrored)
        for line in untried:
            progress.say(line)
        read_seconds = time.monotonic() - started
        context = _context(run, config, prepared, resume=old is not None, progress=progress)
        about = {"backbone": prepared.model.card.name, "strategy": config.strategy, "precision": config.precision}
        fitted = _fit(run, taken, prepared, problem_of(config, taken, prepared, context=context, pool=pool))
        progress.finish()
        glance = _glance(prepared, taken, fitted, progress)
        result = evaluate.judge(fitted, taken, **about)
    result = replace(
        result,
        notes=result.notes
        + trial.get("lines", [])
        + untried
        + ([f"resumed, no longer bit-exact: {', '.join(changes)}"] if changes else []),
        audit={"lines": glance} if glance else None,
        seconds={"read": round(read_seconds, 2), "total": round(time.monotonic() - started, 2)},
    )
    if ranks.is_first():
        for network in fitted.networks:
            network.divide_logits(result.calibration["temperature"])
        record.finish(run, fitted.networks, result, cache=caches.folder_of(prepared.given))
    return result.as_metrics()


def _glance(prepared: Prepared, taken: FirstPass, fitted: Fitted, progress: Progress) -> list[str]:
    """What may be wrong with the images, in a few lines, which are said."""
    answers = taken.listing.task.mean(fitted.logits)
    looked = inspection.at_a_glance(prepared, taken, fitted.rows, answers) if ranks.is_first() else []
    lines = ranks.from_first(looked)
    for line in lines:
        progress.say(line)
    return lines


def _context(
    run: RunFolder, config: ResolvedConfig, prepared: Prepared, *, resume: bool, progress: Progress
) -> FitContext:
    """How the run is fitted: its metrics lines go to its folder, and what a person should know to `progress`."""

    def append(line: dict[str, Any]) -> None:
        run.metrics.add(line)
        run.listeners.line(line)

    strategy = prepared.strategy
    return FitContext(
        plan=_plan(config, strategy, progress),
        patience=config.patience,
        reporter=Reporter(
            progress,
            append=append if ranks.is_first() else None,
            epochs=config.epochs,
            has_budget=config.budget is not None,
        ),
        checkpoint=run.checkpoints if strategy.trains_network else None,  # a head takes seconds to train again
        resume=resume,
        deadline=prepared.deadline,
    )


def _plan(config: ResolvedConfig, strategy: Strategy, progress: Progress) -> Plan | None:
    """The numbers of training by mini-batches, if there is one; `progress` hears where memory divides the batches."""
    plan = strategy.plan(config)
    return plan and replace(plan, micro_batches=MicroBatches(say=progress.say))


def _fit(run: RunFolder, taken: FirstPass, prepared: Prepared, problem: Problem) -> Fitted:
    """Fit the network in place by its strategy; of a fit that diverges, the best epoch before is kept."""
    try:
        return prepared.strategy.run(problem)
    except DivergedError as error:
        if error.epoch is None:
            raise
        named = {"listing": taken.listing, "backbone": prepared.model.card.name, "epoch": error.epoch}
        # all ranks have come here, and wait: the first to fail would end this one
        kept = ranks.from_first(str(record.keep_best(run, prepared.model, **named)) if ranks.is_first() else None)
        raise DivergedError(f"{error}; the model of epoch {error.epoch}, the best before, is in {kept}") from error


def try_rates(prepared: Prepared, *, steps: int, progress: Progress) -> Suggestion:
    """Train for a few steps at each of nine learning rates. Raises: DivergedError if the loss falls at none."""
    with pool_of(prepared) as pool:
        taken, config = read_images(prepared, progress, pool=pool)
        augment.tell_engine(prepared.augment, progress)
        prepared, taken, config, _ = policy.tried(prepared, taken, config, progress, pool=pool)
        candidates = [LR[kinds.present(config.optimizer)] * factor for factor in RATE_FACTORS]
        plan = _plan(config, prepared.strategy, progress)
        context = FitContext(plan=plan, patience=config.patience, reporter=Reporter(progress))
        problem = problem_of(config, taken, prepared, context=context, pool=pool)
        progress.start("trying learning rates", len(candidates) * steps * kinds.present(config.batch_size))
        suggestion = lr_find.suggest(list(lr_find.try_each(problem, prepared.strategy, candidates, steps=steps)))
    progress.finish()
    return suggestion
