"""What comes before training: options checked, images found, read and split, the network with a fresh head."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transferkit import caches, network, ranks, runtime
from transferkit import config as configs
from transferkit.config import FinetuneConfig
from transferkit.progress import Progress
from transferkit.ship import news
from transferkit.zoo import files

if TYPE_CHECKING:
    from transferkit.data.augment import Augment
    from transferkit.data.folder import Listing
    from transferkit.data.photos import Photos
    from transferkit.model.build import Backbone
    from transferkit.model.features import Extractor
    from transferkit.model.freezer import FreezeReport
    from transferkit.model.precision import Precision
    from transferkit.train.descent import Work
    from transferkit.train.intake import Intake
    from transferkit.train.views import Reuse
    from transferkit.train.ways import Problem


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a run starts from: checked options, the images found, a network with a fresh head, how to read photos."""

    config: FinetuneConfig
    listing: "Listing"
    model: "Backbone"
    frozen: "FreezeReport"
    augment: "Augment"
    photos: "Photos"
    device: str
    precision: "Precision"
    extractor: "Extractor | None"  # None where no features are wanted
    reuse: "Reuse"
    hashes: dict[str, str]  # of what training begins with, beside the images


def prepare(
    data: str | Path | None = None,
    *,
    config_file: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Setting:
    """All that can be known before an image is decoded; takes the arguments of `finetune`.

    Writes to the cache alone, and beside shards what is in them.

    Raises: UsageError, DataError, ModelFileError, NetworkError.
    """
    from transferkit.data import folder

    config = configs.make(data, options, file=config_file)
    progress = progress or Progress()
    listing = folder.read(config.data, cache=caches.folder_of(config), progress=progress)
    news.found(listing, progress)

    from transferkit.data import augment, augment_trial  # after the data is found: torch takes seconds to import
    from transferkit.model import boundary, feature_cache, precision
    from transferkit.train.views import Reuse

    augment_trial.check(config.augment)
    device = runtime.pick_device(config.device)
    model, frozen = _network(config, len(listing.classes), device=device, progress=progress)
    chosen, lines = precision.choose(
        model, config.precision, device=device, cache=caches.folder_of(config), phases=config.phases
    )
    chosen = precision.Precision.read(ranks.from_first(str(chosen)))
    for line in lines:
        progress.say(line)
    weights = feature_cache.weights_hash(model)
    extractor = caches.extractor_of(config, model, weights=weights, precision=chosen.features, device=device)
    return Setting(
        config=config,
        listing=listing,
        model=model,
        frozen=frozen,
        augment=augment.load("none" if config.augments_nothing else config.augment, model.card.preprocessing),
        photos=caches.photos_of(config, model, progress),
        device=device,
        precision=chosen,
        extractor=None if config.strategy == "finetune" else extractor,
        reuse=Reuse(
            model=model,
            boundary=None if config.fits_head_alone else boundary.find(model),
            device=device,
            precision=chosen.training,
            cache=caches.folder_of(config),
            progress=progress,
        ),
        hashes={f"weights of {model.card.name}": weights} | _augmentation(config),
    )


def _augmentation(config: FinetuneConfig) -> dict[str, str]:
    """The hash of the file with the augmentation, if it is one."""
    path = Path(config.augment)
    return {f"augmentation in {path}": files.sha256(path)} if path.is_file() else {}


def _network(
    config: FinetuneConfig, num_classes: int, *, device: str, progress: Progress
) -> tuple["Backbone", "FreezeReport"]:
    """The network with a fresh head, frozen as asked, on `device`."""
    from transferkit.model.freezer import freeze
    from transferkit.model.head import reset_head

    model = network.opened(config, device=device, progress=progress)
    if config.bit_depth:
        preprocessing = replace(model.card.preprocessing, bit_depth=config.bit_depth)
        model.card = replace(model.card, preprocessing=preprocessing)
    model.holds_statistics = config.weights != "none"  # those of pretraining are better than a few hundred images give
    drops = {} if config.fits_head_alone else {"dropout": config.dropout, "dropconnect": config.dropconnect}
    reset_head(model, num_classes, seed=config.seed, **drops)
    frozen = freeze(model, "backbone" if config.strategy == "probe" else config.freeze)
    news.trained(frozen, progress)
    if config.unused:
        progress.say(f"the head is solved for exactly, which does not use {', '.join(config.unused)}")
    return model, frozen


def take_in(setting: Setting, progress: Progress) -> tuple["Intake", FinetuneConfig]:
    """Read all images, set the bad ones aside, split the rest; the config with its numbers filled in."""
    from transferkit.train import intake

    config = setting.config
    reader = intake.Reader(
        photos=setting.photos,
        preprocessing=setting.model.card.preprocessing,
        device=setting.device,
        extractor=setting.extractor,
    )
    taken = intake.read_images(setting.listing, reader, progress=progress)
    news.left_out(taken.quarantine, progress)
    taken = intake.divide(taken, fraction=config.val_fraction, seed=config.seed, progress=progress)
    parts = taken.listing.parts
    config = replace(config.resolved(images=int((parts == "train").sum())), precision=str(setting.precision))
    if config.backbone == "auto":
        config = replace(config, backbone=setting.model.card.name)
    if config.views is None:
        views = config.feature_views
        if not config.fits_head_alone:
            views = ranks.from_first(setting.reuse.choose_views(epochs=config.epochs))
        config = replace(config, views=views)
    return taken, config


def space_for(config: FinetuneConfig, model: "Backbone") -> int:
    """Bytes that a run of `model` may take on disk: thrice the model, and what a checkpoint holds beside it."""
    state = sum(tensor.nbytes for tensor in model.state_dict().values())
    moments = 2 * sum(p.nbytes for p in model.parameters() if p.requires_grad)
    members = config.snapshots or 0
    return (3 + members) * state + (0 if config.fits_head_alone else (2 + members) * state + moments)


def problem_of(config: FinetuneConfig, taken: "Intake", setting: Setting, *, work: "Work") -> "Problem":
    """The network, its images and how to fit it to them, for a config whose numbers are filled in."""
    from transferkit.train import supply
    from transferkit.train.loop import Examples
    from transferkit.train.views import augmented
    from transferkit.train.ways import Method, Problem

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
        photos=setting.photos,
        device=setting.device,
    )
    features = taken.features
    if config.fits_head_alone and not config.augments_nothing:
        features = augmented(setting.extractor, features, images, np.concatenate([train.rows, val.rows]))
    views = 0 if config.fits_head_alone else config.views
    network, images = setting.reuse.trained_part(images, views=views, count=len(listing.labels))
    constants = ("optimizer", "lr", "layer_decay", "l2", "dropout", "dropconnect")
    return Problem(
        model=model,
        features=features,
        network=network,
        supply=images,
        train=train,
        val=val,
        groups=taken.groups,
        work=work,
        freeze=config.freeze,
        method=Method(**{name: getattr(config, name) for name in constants}),
    )
