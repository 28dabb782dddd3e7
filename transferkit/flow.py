"""The main job on one screen: images and a backbone in, a run folder with a judged classifier out."""

import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit import kinds, ranks, runtime
from transferkit.config import ResolvedConfig
from transferkit.messages import Reporter
from transferkit.options import LR, LR_STEPS
from transferkit.prepare import Prepared, prepare, problem_of, read_images, space_for
from transferkit.progress import Progress
from transferkit.signature import with_options
from transferkit.train import strategies
from transferkit.zoo import stops
from transferkit.zoo.errors import DivergedError, UsageError

if TYPE_CHECKING:
    from transferkit.ship.begun import Begun
    from transferkit.ship.classifier import Classifier
    from transferkit.ship.runs import RunFolder
    from transferkit.train.context import FitContext
    from transferkit.train.first_pass import FirstPass
    from transferkit.train.fitted import Fitted
    from transferkit.train.lr_find import Suggestion

WHILE_RESUMING = {"out", "workers", "cache_dir", "device", "keep_checkpoints"}  # options that change no bit of a run
RATE_FACTORS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)  # of the optimiser's default


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run: its folder and the contents of its metrics.json."""

    folder: Path
    metrics: dict[str, Any]

    @property
    def classifier(self) -> "Classifier":
        """The trained classifier, read back from the run's folder."""
        from transferkit.ship.classifier import load

        return load(self.folder)


@with_options(strategy=strategies.help_text())
def finetune(
    data: str | Path | None = None,
    *,
    config_file: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Fit a classifier to the images of `data` and write everything about it to a run folder.

    Args: data, a folder of class folders, a folder with train/ [val/] [test/], a CSV with path,label[,split], or a
    pattern of shards; options, over those in `config_file`; overwrite replaces the run in
    `out` once the new one is complete, resume goes on with it.

    Raises: the errors of transferkit.zoo.errors, each one line that says what to do.

    >>> import transferkit as tk
    >>> tk.finetune("no such folder")
    Traceback (most recent call last):
    transferkit.zoo.errors.UsageError: no such folder or CSV file: no such folder
    """
    from transferkit.ship import runs

    started = time.monotonic()
    runtime.keep_freed_memory()
    old = _begun(options, config_file, progress or Progress()) if resume else None
    threads = old.threads(progress or Progress()) if old else nullcontext()
    with ranks.joined(), runtime.memory_errors(), stops.working(), threads:
        progress = (progress if ranks.is_first() else None) or Progress()
        if ranks.is_first():
            runs.check_writable(Path(options.get("out") or "runs").expanduser())
        if old:
            options = old.options | options
            data = data or options["data"]
            del options["data"]
        prepared = prepare(data, config_file=config_file, progress=progress, **options)
        config, given = prepared.given, asdict(prepared.given)
        opening = runs.opening(config.out, config.data, given=given, overwrite=overwrite, resume=resume)
        opened = runs.open_run(Path(opening.path), overwrite=opening.overwrite, resume=opening.resume)
        with opened as run, runtime.memory_errors():  # inside as well: it is no crash
            if opening.resume:
                from transferkit.ship import begun

                old = old or begun.read(run.path, progress)  # started again by torchrun
            scores = _train(run, prepared, old, started=started, progress=progress)
            if ranks.is_first():
                if not config.keep_checkpoints:
                    run.drop_checkpoints()
                run.complete()
    return Run(folder=run.path, metrics=scores)


def _begun(options: dict[str, Any], config_file: str | Path | None, progress: Progress) -> "Begun":
    """The run to go on with."""
    from transferkit.ship import begun

    if not options.get("out"):
        raise UsageError("name the run to go on with: transferkit finetune --resume -o RUN")
    if config_file is not None:
        raise UsageError("--resume goes on with the options the run began with; drop --config")
    for name in options.keys() - WHILE_RESUMING:
        raise UsageError(f"--resume goes on with the options the run began with; drop --{name.replace('_', '-')}")
    return begun.read(Path(options["out"]).expanduser(), progress)


def _train(
    run: "RunFolder", prepared: Prepared, old: "Begun | None", *, started: float, progress: Progress
) -> dict[str, Any]:
    """Read the images, fit the network, judge it and write all of it to the run's folder; the contents of metrics.json.

    Args: old, the run that is gone on with; if it is finished, nothing is trained.
    """
    from transferkit import evaluate
    from transferkit.ship import record, runs  # not before the data is known to be there: torch is slow to import

    changes = old.check(prepared.hashes, device=prepared.device) if old else []
    finished = ranks.from_first(record.finished(run) if ranks.is_first() else None) if old else None
    if not finished and ranks.is_first():
        runs.check_space(run.place, space_for(prepared.given, prepared.model))
    if finished and prepared.extractor and not prepared.extractor.remembers:  # to compare images, hashes are enough
        prepared = replace(prepared, extractor=None)
    taken, config = read_images(prepared, progress)
    if old:
        old.check_images(run.place, taken.listing, taken.sha256)
    if finished:
        progress.say(f"{run.path} is finished: its model is in {run.path / 'model'}")
        return finished
    if changes:
        progress.say(f"no longer bit-exact: {', '.join(changes)}")
    if ranks.is_first():
        if not old:
            about = {"config": asdict(config), "given": asdict(prepared.given), "device": prepared.device}
            record.start(run, about | {"hashes": prepared.hashes}, taken)
        record.begin(run, taken)
    read_seconds = time.monotonic() - started
    context = _context(run, config, prepared.strategy, resume=old is not None, progress=progress)
    fitted = _fit(run, config, taken, prepared, context)
    progress.finish()
    about = {"backbone": prepared.model.card.name, "strategy": config.strategy, "precision": config.precision}
    result = evaluate.judge(fitted, taken, **about)
    result = replace(
        result,
        notes=result.notes + ([f"resumed, no longer bit-exact: {', '.join(changes)}"] if changes else []),
        seconds={"read": round(read_seconds, 2), "total": round(time.monotonic() - started, 2)},
    )
    if ranks.is_first():
        record.finish(run, fitted.networks, result)
    return result.as_metrics()


def _context(
    run: "RunFolder", config: ResolvedConfig, strategy: strategies.Strategy, *, resume: bool, progress: Progress
) -> "FitContext":
    """How the run is fitted: its metrics lines go to its folder, and what a person should know to `progress`."""
    from transferkit.train.context import FitContext

    append = run.metrics.add if ranks.is_first() else None
    return FitContext(
        plan=strategy.plan(config),
        patience=config.patience,
        reporter=Reporter(progress, append=append, epochs=config.epochs),
        checkpoint=run.checkpoints if strategy.trains_network else None,  # a head takes seconds to train again
        resume=resume,
    )


def _fit(
    run: "RunFolder", config: ResolvedConfig, taken: "FirstPass", prepared: Prepared, context: "FitContext"
) -> "Fitted":
    """Fit the network in place by its strategy; of a fit that diverges, the best epoch before is kept."""
    from transferkit.ship import record

    try:
        return prepared.strategy.run(problem_of(config, taken, prepared, context=context))
    except DivergedError as error:
        if error.epoch is None:
            raise
        named = {"classes": taken.listing.classes, "backbone": prepared.model.card.name, "epoch": error.epoch}
        # all ranks have come here, and wait: the first to fail would end this one
        kept = ranks.from_first(str(record.keep_best(run, prepared.model, **named)) if ranks.is_first() else None)
        raise DivergedError(f"{error}; the model of epoch {error.epoch}, the best before, is in {kept}") from error


def try_rates(
    data: str | Path,
    *,
    out: str | Path | None = None,
    through: str = "head",
    steps: int = 100,
    progress: Progress | None = None,
    **options: Any,
) -> "Suggestion":
    """Train for a few steps at each of nine learning rates, and say which to take.

    Args: data and options, those of `finetune`; out, a PNG file for the picture of the losses; through, "head" to train
    a head alone on features computed once, or "network" for all stages that are not frozen.

    Raises: as `finetune`, and DivergedError if the loss falls at no rate.
    """
    runtime.keep_freed_memory()
    progress = progress or Progress()
    options = _search_options(options, through=through, steps=steps)
    with runtime.memory_errors(), stops.working():
        prepared = prepare(data, progress=progress, **options)
        taken, config = read_images(prepared, progress)
        from transferkit.train import lr_find  # not before the data is known to be there: torch takes seconds to import
        from transferkit.train.context import FitContext

        candidates = [LR[kinds.present(config.optimizer)] * factor for factor in RATE_FACTORS]
        context = FitContext(plan=prepared.strategy.plan(config), patience=config.patience, reporter=Reporter(progress))
        problem = problem_of(config, taken, prepared, context=context)
        progress.start("trying learning rates", len(candidates) * steps * kinds.present(config.batch_size))
        suggestion = lr_find.suggest(list(lr_find.try_each(problem, prepared.strategy, candidates, steps=steps)))
        progress.finish()
        if out is not None:
            from transferkit.ship import lr_curves

            lr_curves.draw(suggestion, Path(out).expanduser())
    return suggestion


def _search_options(options: dict[str, Any], *, through: str, steps: int) -> dict[str, Any]:
    """The options of a search for a learning rate. Raises: UsageError for what is none."""
    options = {name: value for name, value in options.items() if value is not None}
    if "strategy" in options:
        raise UsageError("what is trained is said by through; drop strategy")
    if through not in strategies.LR_SEARCHES:
        raise UsageError(f"through {through!r} is unknown; allowed: {', '.join(strategies.LR_SEARCHES)}")
    least, most = LR_STEPS
    if not least <= steps <= most:
        raise UsageError(f"{steps} steps at each rate are too few or too many; allowed: {least} to {most:,}")
    if "lr" in options:
        raise UsageError("the learning rate is what is looked for; drop lr")
    strategy = strategies.LR_SEARCHES[through]
    if options.get("freeze") and not strategy.trains_network:
        raise UsageError("a head alone freezes the whole backbone; --freeze is for --through network")
    found = {"optimizer": strategy.optimizer, "l2": 0.0} | options  # decay tells in long runs only
    if found["optimizer"] == "lbfgs":
        raise UsageError("lbfgs finds the length of its steps itself and has no learning rate to look for")
    return found | {"strategy": strategy.name}
