"""The main job on one screen: images and a backbone in, a run folder with a judged classifier out."""

import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit import ranks, runtime
from transferkit.config import LR, THROUGH, FinetuneConfig
from transferkit.prepare import Setting, prepare, problem_of, space_for, take_in
from transferkit.progress import Progress
from transferkit.ship import news
from transferkit.zoo import stops
from transferkit.zoo.errors import DivergedError, UsageError

if TYPE_CHECKING:
    from transferkit.ship.begun import Begun
    from transferkit.ship.classifier import Classifier
    from transferkit.ship.runs import RunFolder
    from transferkit.train.intake import Intake
    from transferkit.train.rates import Suggestion
    from transferkit.train.strategies import Fitted

WHILE_RESUMING = {"out", "workers", "cache_dir", "device", "keep_checkpoints"}  # options that change no bit of a run
MIN_STEPS, MAX_STEPS = 8, 10_000  # below, a quarter of a short run is a batch
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
    pattern of shards; options, the fields of FinetuneConfig, over those in `config_file`; overwrite replaces the run in
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
    old = _begun(options, progress or Progress()) if resume else None
    threads = old.threads(progress or Progress()) if old else nullcontext()
    with ranks.joined(), runtime.memory_errors(), stops.working(), threads:
        progress = (progress if ranks.is_first() else None) or Progress()
        if ranks.is_first():
            runs.check_writable(Path(options.get("out") or "runs").expanduser())
        if old:
            options = old.options | options
            data = data or options["data"]
            del options["data"]
        setting = prepare(data, config_file=config_file, progress=progress, **options)
        config, given = setting.config, asdict(setting.config)
        opening = runs.opening(config.out, config.data, given=given, overwrite=overwrite, resume=resume)
        opened = runs.open_run(Path(opening.path), overwrite=opening.overwrite, resume=opening.resume)
        with opened as run, runtime.memory_errors():  # inside as well: it is no crash
            if opening.resume:
                from transferkit.ship import begun

                old = old or begun.read(run.path, progress)  # started again by torchrun
            scores = _train(run, setting, old, started=started, progress=progress)
            if ranks.is_first():
                if not config.keep_checkpoints:
                    run.drop_checkpoints()
                run.complete()
    return Run(folder=run.path, metrics=scores)


def _begun(options: dict[str, Any], progress: Progress) -> "Begun":
    """The run to go on with."""
    from transferkit.ship import begun

    if not options.get("out"):
        raise UsageError("name the run to go on with: transferkit finetune --resume -o RUN")
    for name in options.keys() - WHILE_RESUMING:
        raise UsageError(f"--resume goes on with the options the run began with; drop --{name.replace('_', '-')}")
    return begun.read(Path(options["out"]).expanduser(), progress)


def _train(
    run: "RunFolder", setting: Setting, old: "Begun | None", *, started: float, progress: Progress
) -> dict[str, Any]:
    """Read the images, fit the network, judge it and write all of it to the run's folder; the scores.

    Args: old, the run that is gone on with; if it is finished, nothing is trained.
    """
    from transferkit.judge import evaluate
    from transferkit.ship import record, runs  # not before the data is known to be there: torch is slow to import

    changes = old.check(setting.hashes, device=setting.device) if old else []
    scores = ranks.from_first(record.finished(run) if ranks.is_first() else None) if old else None
    if not scores and ranks.is_first():
        runs.check_space(run.place, space_for(setting.config, setting.model))
    if scores and setting.extractor and not setting.extractor.remembers:  # to compare images, hashes are enough
        setting = replace(setting, extractor=None)
    taken, config = take_in(setting, progress)
    if old:
        old.check_images(run.place, taken.listing, taken.sha256)
    if scores:
        progress.say(f"{run.path} is finished: its model is in {run.path / 'model'}")
        return scores
    if changes:
        progress.say(f"no longer bit-exact: {', '.join(changes)}")
    if ranks.is_first():
        if not old:
            about = {"config": asdict(config), "given": asdict(setting.config), "device": setting.device}
            record.start(run, about | {"hashes": setting.hashes}, taken)
        record.begin(run, taken)
    read_seconds = time.monotonic() - started
    try:
        fitted = _fit(run, config, taken, setting, resume=old is not None, progress=progress)
    except DivergedError as error:
        if error.epoch is None:
            raise
        named = {"classes": taken.listing.classes, "backbone": setting.model.card.name, "epoch": error.epoch}
        # all ranks have come here, and wait: the first to fail would end this one
        kept = ranks.from_first(str(record.keep_best(run, setting.model, **named)) if ranks.is_first() else None)
        raise DivergedError(f"{error}; the model of epoch {error.epoch}, the best before, is in {kept}") from error
    scores, judged = evaluate.judge(fitted, taken)
    scores["notes"] += [f"resumed, no longer bit-exact: {', '.join(changes)}"] if changes else []
    scores["backbone"], scores["strategy"] = setting.model.card.name, config.strategy
    scores["precision"] = config.precision
    scores["seconds"] = {"read": round(read_seconds, 2), "total": round(time.monotonic() - started, 2)}
    if ranks.is_first():
        record.finish(run, fitted.members or (setting.model,), scores, judged)
    return scores


def _fit(
    run: "RunFolder", config: FinetuneConfig, taken: "Intake", setting: Setting, *, resume: bool, progress: Progress
) -> "Fitted":
    """Fit the network in place by the strategy asked for."""
    from transferkit.train import strategies
    from transferkit.train.descent import Work
    from transferkit.train.plan import plan_of

    append = run.metrics.add if ranks.is_first() else lambda record: None
    heard = news.TrainingNews(append, progress, epochs=config.epochs)
    work = Work(
        plan=plan_of(config),
        patience=config.patience,
        checkpoint=None if config.fits_on_batches else run.checkpoints,  # a head takes seconds to train again
        resume=resume,
        on_record=heard.record,
        on_phase=progress.start,
        say=progress.say,
        counted=news.counted_by(progress),
    )
    strategy = "probe" if config.fits_head_alone else config.strategy
    fitted = strategies.run(strategy, problem_of(config, taken, setting, work=work))
    progress.finish()
    return fitted


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
    from transferkit.train import rates

    runtime.keep_freed_memory()
    progress = progress or Progress()
    _check_trials(options, through=through, steps=steps)
    defaults = {"optimizer": THROUGH[through], "l2": 0.0}  # decay tells in long runs only
    options = defaults | options
    options["strategy"] = "probe" if through == "head" else "finetune"
    if options["optimizer"] == "lbfgs":
        raise UsageError("lbfgs finds the length of its steps itself and has no learning rate to look for")
    with runtime.memory_errors(), stops.working():
        setting = prepare(data, progress=progress, **options)
        taken, config = take_in(setting, progress)
        from transferkit.train import trials  # not before the data is known to be there: torch takes seconds to import
        from transferkit.train.descent import Work
        from transferkit.train.plan import plan_of

        candidates = [LR[config.optimizer] * factor for factor in RATE_FACTORS]
        work = replace(Work.unheard(plan_of(config)), counted=news.counted_by(progress))
        problem = problem_of(config, taken, setting, work=work)
        progress.start("trying learning rates", len(candidates) * steps * config.batch_size)
        suggestion = rates.suggest(list(trials.run(problem, candidates, steps=steps, through=through)))
        progress.finish()
        if out is not None:
            from transferkit.ship import rates as picture

            picture.draw(suggestion, Path(out).expanduser())
    return suggestion


def _check_trials(options: dict[str, Any], *, through: str, steps: int) -> None:
    """Raise UsageError for what is no search of a learning rate."""
    if through not in THROUGH:
        raise UsageError(f"through {through!r} is unknown; allowed: {', '.join(THROUGH)}")
    if not MIN_STEPS <= steps <= MAX_STEPS:
        raise UsageError(f"{steps} steps at each rate are too few or too many; allowed: {MIN_STEPS} to {MAX_STEPS:,}")
    if "lr" in options:
        raise UsageError("the learning rate is what is looked for; drop lr")
    if through == "head" and options.get("freeze"):
        raise UsageError("a head alone freezes the whole backbone; --freeze is for --through network")
