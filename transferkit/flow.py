"""The main job on one screen: images and a backbone in, a run folder with a judged classifier out.

What needs torch is in `preparation` and `fitting`, which are imported once the data is known to be there.
"""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit import candidates, live, ranks, runtime
from transferkit.candidates import Choice
from transferkit.choices import LR_STEPS
from transferkit.prepare import found, prepare, with_depth
from transferkit.progress import Progress
from transferkit.ship import begun, runs
from transferkit.ship.begun import Begun
from transferkit.signature import with_options
from transferkit.train import strategies
from transferkit.zoo import stops
from transferkit.zoo.errors import UsageError

if TYPE_CHECKING:
    from transferkit.forecast import Forecast
    from transferkit.ranking import Ranked
    from transferkit.ship.classifier import Classifier
    from transferkit.train.lr_find import Suggestion

WHILE_RESUMING = {"out", "workers", "cache_dir", "device", "keep_checkpoints"}  # options that change no bit of a run


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

    def _repr_html_(self) -> str:
        """The summary of the run, in a notebook."""
        from transferkit.ship.notebook import run_html

        return run_html(self.folder, self.metrics)


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

    Args: data, a folder of class folders, a folder with train/ and perhaps val/ and test/, a CSV with path,label and
    perhaps split, or path,labels where images have several, or a pattern of shards; options, over those in
    `config_file`; overwrite replaces the run in `out` once the new one is complete, resume goes on with it; progress
    hears how it goes: by default the live line in a notebook, else what warns of images that are left out; `Progress()`
    is silent.

    Raises: the errors of transferkit.zoo.errors, each one line that says what to do.

    >>> import transferkit as tk
    >>> tk.finetune("no such folder")
    Traceback (most recent call last):
    transferkit.zoo.errors.UsageError: no such folder or CSV file: no such folder
    """
    started = time.monotonic()
    runtime.prepare_process()
    progress = progress or live.here()
    old = _begun(options, config_file, progress) if resume else None
    threads = old.threads(progress) if old else nullcontext()
    with ranks.joined(), runtime.device_errors(), stops.working(), threads:
        progress = progress if ranks.is_first() else Progress()
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
        with opened as run, runtime.device_errors():  # inside as well: it is no crash
            if opening.resume:
                old = old or begun.read(run.path, progress)  # started again by torchrun
            from transferkit import budget, fitting  # after the data is found: torch takes seconds to import

            with prepared.arithmetic():
                planned = old and old.record["config"]
                prepared = budget.kept(prepared, planned, started=started, progress=progress)
                scores = fitting.train(run, prepared, old, started=started, progress=progress)
            if ranks.is_first():
                if not config.keep_checkpoints:
                    run.drop_checkpoints()
                run.complete()
    return Run(folder=run.path, metrics=scores)


def forecast(
    data: str | Path | None = None,
    *,
    config_file: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> "Forecast":
    """What `finetune` of the same arguments would do and take: its first batches are run, and nothing is written.

    Decoded photos are kept in the cache.

    Raises: the errors of transferkit.zoo.errors.
    """
    started = time.monotonic()
    runtime.prepare_process()
    with runtime.device_errors(), stops.working():
        prepared = prepare(data, config_file=config_file, progress=progress, **options)
        from transferkit import budget, forecast  # after the data is found: torch takes seconds to import

        with prepared.arithmetic():
            return forecast.measure(
                budget.kept(prepared, None, started=started, progress=progress or Progress()), started=started
            )


def rank(
    data: str | Path,
    backbones: Sequence[str] | None = None,
    *,
    choice: Choice | None = None,
    most: int = 2000,
    progress: Progress | None = None,
    **options: Any,
) -> "list[Ranked]":
    """The backbones in order of how well a head on their features knows the images in cross-validation.

    Args: data, and options that say how images are read, as for `finetune`; backbones, names, all whose weights are
    here if none are given; choice, whether others are downloaded, and whether all have to be free for commercial
    use; most, how many images are looked at.

    Raises: the errors of transferkit.zoo.errors.
    """
    if backbones is not None and not backbones:
        raise UsageError("no backbones are named; drop the option to try all whose weights are here")
    choice = choice or Choice()
    if choice.download:
        _check_download(backbones, options)
    runtime.prepare_process()
    progress = progress or live.here()
    with runtime.device_errors(), stops.working():
        config, listing = found(data, progress=progress, **options)
        config = with_depth(config, listing, progress)
        from transferkit import ranking  # after the data is found: torch takes seconds to import

        chosen = candidates.chosen(backbones, choice, config, progress)
        return ranking.rank(config, listing, chosen, progress, most=most)


def _check_download(backbones: Sequence[str] | None, options: dict[str, Any]) -> None:
    """Raise UsageError where networks are to be downloaded, but the other options say otherwise."""
    if options.get("offline"):
        raise UsageError("--download needs the network, which --offline forbids; drop one of them")
    if backbones:
        raise UsageError("--download chooses networks itself; those that are named are downloaded without it: drop it")


def _begun(options: dict[str, Any], config_file: str | Path | None, progress: Progress) -> Begun:
    """The run to go on with."""
    if not options.get("out"):
        raise UsageError("name the run to go on with: transferkit finetune --resume -o RUN")
    if config_file is not None:
        raise UsageError("--resume goes on with the options the run began with; drop --config")
    for name in options.keys() - WHILE_RESUMING:
        raise UsageError(f"--resume goes on with the options the run began with; drop --{name.replace('_', '-')}")
    return begun.read(Path(options["out"]).expanduser(), progress)


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
    runtime.prepare_process()
    progress = progress or live.here()
    options = _search_options(options, through=through, steps=steps)
    with runtime.device_errors(), stops.working():
        prepared = prepare(data, progress=progress, **options)
        from transferkit import fitting  # after the data is found: torch takes seconds to import

        with prepared.arithmetic():
            suggestion = fitting.try_rates(prepared, steps=steps, progress=progress)
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
