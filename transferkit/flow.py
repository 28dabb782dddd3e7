"""The main job on one screen: images and a backbone in, a run folder with a judged classifier out."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transferkit import config as configs
from transferkit import runtime, seeds
from transferkit.config import FinetuneConfig
from transferkit.progress import Progress
from transferkit.ship import news
from transferkit.zoo.errors import DataError, UsageError

if TYPE_CHECKING:
    from transferkit.data.augment import Augment
    from transferkit.data.folder import Listing
    from transferkit.model.build import Backbone
    from transferkit.model.freezer import FreezeReport
    from transferkit.ship.classifier import Classifier
    from transferkit.ship.runs import RunFolder
    from transferkit.train.intake import Intake
    from transferkit.train.strategies import Fitted


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


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a run starts from: checked options, the images found, a network with a fresh head, augmentation, device."""

    config: FinetuneConfig
    listing: "Listing"
    model: "Backbone"
    frozen: "FreezeReport"
    augment: "Augment"
    device: str


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

    Args: data, a folder of class folders, a folder with train/ [val/] [test/], or a CSV with path,label[,split];
    options, the fields of FinetuneConfig, over those in `config_file`; overwrite replaces the run in `out`, resume
    goes on with it.

    Raises: the errors of transferkit.zoo.errors, each one line that says what to do.

    >>> import transferkit as tk
    >>> tk.finetune("no such folder")
    Traceback (most recent call last):
    transferkit.zoo.errors.UsageError: no such folder or CSV file: no such folder
    """
    from transferkit.ship.runs import default_path, open_run

    started = time.monotonic()
    runtime.keep_freed_memory()
    progress = progress or Progress()
    if resume:
        if not options.get("out"):
            raise UsageError("name the run to go on with: transferkit finetune --resume -o RUN")
        config_file = Path(options["out"]) / "run.json"
        if not config_file.is_file():
            raise UsageError(f"nothing to resume: {options['out']} holds no run.json")
    with runtime.memory_errors(), runtime.stop_on_sigterm():
        setting = prepare(data, config_file=config_file, progress=progress, **options)
        from transferkit.judge import evaluate
        from transferkit.ship import record  # not before the data is known to be there: torch takes seconds to import

        folder = Path(setting.config.out) if setting.config.out else default_path(setting.config.data)
        with open_run(folder, overwrite=overwrite, resume=resume) as run:
            taken, config = _take_in(setting, progress)
            record.start(run, asdict(config), taken, device=setting.device, resume=resume)
            read_seconds = time.monotonic() - started
            fitted = _fit(run, config, taken, setting, resume=resume, progress=progress)
            scores, judged = evaluate.judge(fitted, taken)
            scores["backbone"], scores["strategy"] = setting.model.card.name, config.strategy
            scores["seconds"] = {"read": round(read_seconds, 2), "total": round(time.monotonic() - started, 2)}
            record.finish(run, setting.model, scores, judged)
            if not config.keep_checkpoints:
                run.drop_checkpoints()
    return Run(folder=folder, metrics=scores)


def prepare(
    data: str | Path | None = None,
    *,
    config_file: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Setting:
    """All that can be known before an image is decoded; writes nothing. Takes the arguments of `finetune`.

    Raises: UsageError, DataError, ModelFileError, NetworkError.
    """
    from transferkit.data import folder

    config = configs.make(data, options, file=config_file)
    progress = progress or Progress()
    listing = folder.read(Path(config.data))
    news.found(listing, progress)

    import torch  # not before the data is known to be there: it takes seconds

    from transferkit.data import augment
    from transferkit.model import build
    from transferkit.model.freezer import freeze
    from transferkit.model.head import reset_head

    device = runtime.pick_device(config.device)
    torch.manual_seed(seeds.integer(config.seed, "weights"))  # where --weights none asks for random ones
    model, note = build.open_backbone(
        config.backbone, weights=config.weights, image_size=config.image_size, offline=config.offline, device=device
    )
    if note:
        progress.say(note)
    model.holds_statistics = config.weights != "none"  # those of pretraining are better than a few hundred images give
    reset_head(model, len(listing.classes), dropout=config.dropout, seed=config.seed)
    frozen = freeze(model, "backbone" if config.strategy == "probe" else config.freeze)
    model.to(device, memory_format=torch.channels_last)  # 1.4 times as fast as NCHW on a CPU
    augmentation = (
        "none" if config.strategy == "probe" else config.augment
    )  # a probe needs none, nor a second to load it
    return Setting(
        config=config,
        listing=listing,
        model=model,
        frozen=frozen,
        augment=augment.load(augmentation, model.card.preprocessing),
        device=device,
    )


def _take_in(setting: Setting, progress: Progress) -> tuple["Intake", FinetuneConfig]:
    """Read all images, set the bad ones aside, split the rest; the config with its numbers filled in."""
    from transferkit.data import split
    from transferkit.train import intake

    config = setting.config
    taken = intake.read_images(
        setting.listing,
        setting.model,
        with_features=config.strategy != "finetune",
        workers=_workers(config),
        device=setting.device,
        progress=progress,
    )
    news.left_out(taken.quarantine, progress)
    listing = taken.listing
    parts = split.assign_parts(
        listing.labels, listing.parts, fraction=config.val_fraction, seed=config.seed, groups=listing.groups
    )
    if not (parts == "val").any():
        raise DataError("too few images to validate on: at least one class needs 2 readable images")
    config = config.resolved(images=int((parts == "train").sum()))
    return replace(taken, listing=replace(listing, parts=parts)), config


def _workers(config: FinetuneConfig) -> int:
    return runtime.default_workers() if config.workers is None else config.workers


def _fit(
    run: "RunFolder", config: FinetuneConfig, taken: "Intake", setting: Setting, *, resume: bool, progress: Progress
) -> "Fitted":
    """Fit the network in place by the strategy asked for."""
    from transferkit.train import strategies, supply
    from transferkit.train.fitting import Work
    from transferkit.train.loop import Examples, Plan

    listing, model = taken.listing, setting.model
    train, val = (
        Examples(rows=np.flatnonzero(listing.parts == part), labels=listing.labels, num_classes=len(listing.classes))
        for part in ("train", "val")
    )
    images = supply.image_supply(
        listing.paths,
        setting.augment,
        model.card.preprocessing,
        seed=config.seed,
        workers=_workers(config),
        device=setting.device,
    )
    plan = Plan(
        epochs=config.epochs,
        batch_size=config.batch_size,
        label_smoothing=config.label_smoothing,
        balance=config.balance,
        seed=config.seed,
    )
    heard = news.TrainingNews(run.append_metrics, progress, epochs=plan.epochs)
    problem = strategies.Problem(
        model=model,
        features=taken.features,
        supply=heard.counted(images),
        train=train,
        val=val,
        groups=listing.groups,
        work=Work(
            plan=plan,
            patience=config.patience,
            checkpoint=run.checkpoint,
            resume=resume,
            on_record=heard.record,
            on_phase=progress.start,
        ),
        freeze=config.freeze,
        lr=config.lr,
        layer_decay=config.layer_decay,
        l2=config.l2,
    )
    fitted = strategies.run(config.strategy, problem)
    progress.finish()
    return fitted
