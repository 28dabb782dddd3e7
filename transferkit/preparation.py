"""What follows once the images are found: the network with a fresh head, all images read and split, what is fitted."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from transferkit import caches, determinism, kernels, kinds, messages, network, ranks, runtime
from transferkit.audit import near_copies
from transferkit.choices import NOTHING
from transferkit.config import FinetuneConfig, ResolvedConfig
from transferkit.data import augment, augment_trial
from transferkit.data.augment import Augment
from transferkit.data.listing import Listing
from transferkit.data.photos import Photos
from transferkit.data.views import Views
from transferkit.data.worker_pool import WorkerPool
from transferkit.model import boundary, feature_cache, precision
from transferkit.model.build import Backbone
from transferkit.model.features import Extractor
from transferkit.model.freezer import FreezeReport, freeze
from transferkit.model.head import reset_head
from transferkit.model.precision import Precision
from transferkit.progress import Progress
from transferkit.train import division, loader
from transferkit.train.context import FitContext
from transferkit.train.deadline import Deadline
from transferkit.train.first_pass import FirstPass, Reader
from transferkit.train.loop import Examples
from transferkit.train.problem import Hyperparameters, Problem, are_few
from transferkit.train.strategies import Strategy
from transferkit.train.views import ActivationReuse, augmented
from transferkit.zoo import files


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a run starts from: checked options, the images found, a network with a fresh head, how to read photos.

    `given` are the options, and `asked` the same before `--budget` has changed any; `are_few` as in `Problem`, by how
    many images there are before any of them is read.
    """

    given: FinetuneConfig
    asked: FinetuneConfig
    strategy: Strategy
    listing: Listing
    are_few: bool
    model: Backbone
    frozen: FreezeReport
    augment: Augment
    photos: Photos
    device: str
    precision: Precision
    extractor: Extractor | None  # None where no features are wanted
    reuse: ActivationReuse
    hashes: dict[str, str]  # of what training begins with, beside the images
    deadline: Deadline = field(default_factory=Deadline)

    @property
    def val_fraction(self) -> float:
        """The share of the images that validates, where the data do not say which do."""
        return self.strategy.validates(self.given, are_few=self.are_few)

    @property
    def fits_mirrored(self) -> bool:
        """Whether the network, or its head, is fitted to mirror images."""
        return self.given.mirrors and (self.extractor is None or self.extractor.first_views > 1)

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """The block in which a run computes: with kernels that repeat, if it is to be deterministic.

        Single precision on a GPU is TF32 there, but for a run that is all in single precision.
        """
        exact = self.precision.is_single
        with determinism.switched(self.given.deterministic), kernels.single_precision(self.device, exact=exact):
            yield


def complete(config: FinetuneConfig, listing: Listing, progress: Progress) -> Prepared:
    """All that can be known before an image is decoded, of options that are checked and images that are found.

    Raises: UsageError, ModelFileError, NetworkError.
    """
    with determinism.switched(config.deterministic):
        return _complete(config, listing, progress)


def _complete(config: FinetuneConfig, listing: Listing, progress: Progress) -> Prepared:
    strategy = config.chosen_strategy
    augment_trial.check(config.augment)
    device = runtime.pick_device(config.device)
    few = are_few(int((listing.parts != "test").sum()))
    model, frozen = _network(config, len(listing.classes), few=few, device=device, progress=progress)
    chosen, lines = precision.choose(
        model, strategy.precision(config), device=device, cache=caches.folder_of(config), phases=strategy.phases
    )
    chosen = Precision.read(ranks.from_first(str(chosen)))
    for line in lines:
        progress.say(line)
    weights = feature_cache.weights_hash(model)
    extractor = caches.extractor_of(config, model, weights=weights, precision=chosen, device=device)
    return Prepared(
        given=config,
        asked=config,
        strategy=strategy,
        listing=listing,
        are_few=few,
        model=model,
        frozen=frozen,
        augment=augment.load("none" if strategy.takes_one_pass(config) else config.augment, model.card.preprocessing),
        photos=caches.photos_of(config, model, progress, device=device),
        device=device,
        precision=chosen,
        extractor=extractor if strategy.needs_features else None,
        reuse=ActivationReuse(
            model=model,
            boundary=boundary.find(model) if strategy.trains_network else None,
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
    config: FinetuneConfig, classes: int, *, few: bool, device: str, progress: Progress
) -> tuple[Backbone, FreezeReport]:
    """The network with a fresh head for the classes, frozen as asked or as suits so many images, on `device`."""
    model = network.opened(config, device=device, progress=progress)
    if config.bit_depth:
        preprocessing = replace(model.card.preprocessing, bit_depth=config.bit_depth)
        model.card = replace(model.card, preprocessing=preprocessing)
    model.holds_statistics = config.weights != "none"  # those of pretraining are better than a few hundred images give
    model.learn_apart()
    strategy = config.chosen_strategy
    dropout, dropconnect = (config.dropout, config.dropconnect) if strategy.trains_network else (0.0, 0.0)
    reset_head(model, classes, seed=config.seed, dropout=dropout, dropconnect=dropconnect)
    report = freeze(model, strategy.freezes(config, are_few=few))
    strategy.check_network(config, model)
    messages.trained(report.trainable, report.parameters, frozen=report.frozen_stages, progress=progress)
    if unused := strategy.unused(config):
        progress.say(f"{strategy.manner}, which does not use {', '.join(unused)}")
    return model, report


def read_images(
    prepared: Prepared, progress: Progress, *, pool: WorkerPool | None = None
) -> tuple[FirstPass, ResolvedConfig]:
    """Read all images, in a `pool` if there is one, set the bad ones aside, split the rest; the config with numbers."""
    given = prepared.given
    reader, cache = reader_of(prepared, pool), caches.folder_of(given)
    taken = near_copies.read_images(prepared.listing, reader, progress=progress, cache=cache)
    messages.left_out(taken.quarantine, progress)
    taken = division.divide(taken, fraction=prepared.val_fraction, seed=given.seed, progress=progress)
    return taken, numbers(prepared, taken.listing.parts)


def reader_of(prepared: Prepared, pool: WorkerPool | None = None) -> Reader:
    """How the images are read."""
    return Reader(
        photos=prepared.photos,
        preprocessing=prepared.model.card.preprocessing,
        device=prepared.device,
        extractor=prepared.extractor,
        pool=pool,
    )


def numbers(prepared: Prepared, parts: np.ndarray) -> ResolvedConfig:
    """The options with every number filled in. Shapes: parts (N,), that of each image."""
    given, strategy = prepared.given, prepared.strategy
    config = given.resolved(images=int((parts == "train").sum()), are_few=prepared.are_few)
    found: dict[str, Any] = {"precision": str(prepared.precision), "val_fraction": prepared.val_fraction}
    if config.backbone == "auto":
        found["backbone"] = prepared.model.card.name
    if strategy.trains_network:
        found["freeze"] = given.freeze or (prepared.frozen.frozen_stages or (NOTHING,))[-1]
    if config.views is None:
        found["views"] = strategy.feature_views(given)
        if strategy.trains_network:  # mixed images give frozen stages nothing to repeat; a default takes no disk for it
            asked = given.freeze is not None and not given.mixes
            views = prepared.reuse.choose_views(epochs=kinds.present(config.epochs)) if asked else 0
            found["views"] = ranks.from_first(views)
    return replace(config, **found)


def pool_of(prepared: Prepared) -> AbstractContextManager[WorkerPool | None]:
    """The processes that make batches for a GPU, for the length of a block; None where threads do, or features last.

    Small photos stay in their memory, up to half of what is free.
    """
    one_pass = prepared.strategy.takes_one_pass(prepared.given)
    if one_pass or not runtime.wants_processes(prepared.device) or not prepared.photos.workers:
        return nullcontext()
    room = runtime.available_memory() // 2 // ranks.local_size()
    return WorkerPool(Views(prepared.augment, prepared.given.seed), photos=prepared.photos, kept_bytes=room)


def problem_of(
    config: ResolvedConfig, taken: FirstPass, prepared: Prepared, *, context: FitContext, pool: WorkerPool | None = None
) -> Problem:
    """The network, its images and how to fit it to them."""
    listing, model, strategy = taken.listing, prepared.model, prepared.strategy
    train, val = (
        Examples(
            rows=np.flatnonzero(listing.parts == part),
            labels=listing.labels,
            num_classes=len(listing.classes),
            task=listing.task,
        )
        for part in ("train", "val")
    )
    images = loader.image_loader(
        listing.paths, Views(prepared.augment, config.seed), photos=prepared.photos, device=prepared.device, pool=pool
    )
    network, features, inputs = model, taken.features, images
    rows = np.concatenate([train.rows, val.rows])
    if strategy.trains_network:
        views = prepared.reuse.kept_views(config, images=len(listing.labels), fitted=len(rows))
        network, inputs = prepared.reuse.trained_part(images, views=views, count=len(listing.labels), fitted=rows)
    elif not strategy.takes_one_pass(prepared.given):
        extractor, plain = kinds.present(prepared.extractor), kinds.present(features)
        features = augmented(extractor, plain, images, rows)
    return Problem(
        model=model,
        features=features,
        network=network,
        loader=inputs,
        train=train,
        val=val,
        groups=taken.groups,
        context=context,
        are_few=prepared.are_few,
        hyperparameters=Hyperparameters(**{each.name: getattr(config, each.name) for each in fields(Hyperparameters)}),
        images=images if config.tta and prepared.fits_mirrored else None,
    )
