"""What a run is going to take, told from its first batches: minutes, memory, disk."""

import time
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from transferkit import first_batches, kinds, network, preparation, runtime
from transferkit.audit import near_copies
from transferkit.config import ResolvedConfig
from transferkit.data.photos import HELD_BYTES
from transferkit.data.worker_pool import WorkerPool
from transferkit.messages import Reporter
from transferkit.model import timings
from transferkit.model.eval_batch import batch_of
from transferkit.preparation import Prepared
from transferkit.presets import MIRROR
from transferkit.train import first_pass, label_trial, pace, probe
from transferkit.train.context import FitContext
from transferkit.train.feature_blocks import Rows
from transferkit.train.first_pass import FirstPass
from transferkit.train.head import FOLDS_UP_TO
from transferkit.train.pace import Pace
from transferkit.train.problem import Problem

STEPS = 4  # of training, at least, that those images have to be enough for
PASSES, PASSES_OF_MANY = 450, 150  # over all features that solving for a head takes, with folds and without
SOLVED_ON, LOOKS = 2048, 5  # rows at most that such a pass is timed on, and how many times
PHOTOS = 16  # whose pixels are counted
WRITING = 2.0  # seconds that the model folder and the report with its pictures take


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run takes, as its first batches tell.

    Fields: config, the options of `prepared` with every number; images, how many by part; started, read, tried and
    solved, seconds until training can begin; pace, of training, None where there is none; views, of how many what is
    frozen runs once, 0 for none; memory, bytes of the process at its peak; disk, bytes of the run's folder at its
    largest, and cache, those that are kept beside it.
    """

    config: ResolvedConfig
    prepared: Prepared
    images: dict[str, int]
    started: float
    read: float
    tried: float
    solved: float
    pace: Pace | None
    views: int
    memory: int
    disk: int
    cache: int

    def seconds(self, *, epochs: int | None = None, best: int | None = None) -> dict[str, float]:
        """The seconds of each part of the work, for so many `epochs` instead of those of the config.

        Args: best, the epoch that is going to be the best one, instead of a likely one.
        """
        found = {"start": self.started, "reading": self.read, "trying": self.tried, "head": self.solved}
        end = WRITING
        if self.pace:
            train, val, test = (self.images[part] for part in ("train", "val", "test"))
            epochs = epochs or kinds.present(self.config.epochs)
            strategy, few = self.prepared.strategy, self.prepared.are_few
            if strategy.picks_epoch(self.config, are_few=few):
                best = best or strategy.expected_best(train, epochs=epochs)
            else:
                best = epochs
            done = min(epochs, best + self.config.patience)
            found["training"] = self.pace.training(train, epochs=done, views=self.views) + done * val * self.pace.judged
            images, judged = strategy.after(self.config, train, val, are_few=few)
            if images:
                found["training again"] = self.pace.training(images, epochs=best, views=self.views, known=images - val)
            end += (test + judged) * self.pace.judged
        return found | {"end": end}

    @property
    def without_training(self) -> float:
        """Seconds until a head is fitted, and written."""
        return self.started + self.read + self.tried + self.solved + WRITING

    @property
    def total(self) -> float:
        """Seconds, in all."""
        return sum(self.seconds().values())

    @property
    def extremes(self) -> tuple[float, float]:
        """Seconds, in all, should the first epoch be the best one, and should the last."""
        first, last = (sum(self.seconds(best=best).values()) for best in (1, self.config.epochs or 1))
        return first, last


def measure(prepared: Prepared, *, started: float, look: int = 0) -> Forecast:
    """Read some of the images, train on them for some steps and put the network back; decoded photos alone are kept.

    Args: started, what the clock of `time.monotonic` said when the command began; look, which of several, each at other
    images.
    Raises: DataError if none of them can be read.
    """
    so_far = time.monotonic() - started
    parts = _parts(prepared)
    config = preparation.numbers(prepared, parts)
    unread = _unread(prepared, parts)
    size, count = batch_of(prepared.model), len(parts)
    prepared = replace(prepared, extractor=prepared.extractor and replace(prepared.extractor, cache=None))
    with preparation.pool_of(prepared) as pool:
        some = max(first_batches.READ * size, STEPS * (config.batch_size or 0))
        listing = first_batches.drawn(prepared.listing, parts, some, look=look)
        looked = first_batches.read(listing, preparation.reader_of(prepared, pool), size)
        taken, seconds = looked.taken, looked.read
        problem, of_views = _problem(config, taken, prepared, pool)
        fitted = int((parts != "test").sum())
        repeated = prepared.reuse.kept_views(config, images=count, fitted=fitted)
        found = pace.measure(problem, prepared.strategy, views=repeated) if problem.context.plan else None
    views = prepared.extractor.first_views if prepared.extractor else 1
    width = prepared.model.num_features if prepared.extractor else 0
    pixels, stored = _pixels(prepared, taken)
    held = 2 * 4 * width * views * count + min(HELD_BYTES, int(count * pixels))
    return Forecast(
        config=config,
        prepared=prepared,
        images={part: int((parts == part).sum()) for part in ("train", "val", "test")},
        started=so_far,
        read=seconds * (unread[0] + unread[1] / views)
        + looked.compared * min(sum(unread), near_copies.MOST)
        + of_views * fitted,
        tried=_looks(prepared, fitted) * seconds / views,
        solved=_solved(problem, fitted) if prepared.extractor else 0.0,
        pace=found,
        views=repeated,
        memory=_memory(prepared, held=held + prepared.reuse.memory(count, fitted=fitted, views=repeated)),
        disk=network.space_for(prepared.given, prepared.model),
        cache=int(unread[0] * (stored + 4 * width * views) + unread[1] * (stored + 4 * width)),
    )


def _parts(prepared: Prepared) -> np.ndarray:
    """The part of each image, were every one of them readable and none a copy of another; shape (N,)."""
    listing, given = prepared.listing, prepared.given
    return listing.task.assign_parts(
        listing.labels, listing.parts, fraction=prepared.val_fraction, seed=given.seed, groups=listing.groups
    )


def _unread(prepared: Prepared, parts: np.ndarray) -> tuple[int, int]:
    """How many images the first pass has to read, of those that a head is fitted to and of the others."""
    missing = first_pass.missing(prepared.listing, preparation.reader_of(prepared))
    return int((missing & (parts != "test")).sum()), int((missing & (parts == "test")).sum())


def _problem(
    config: ResolvedConfig, taken: FirstPass, prepared: Prepared, pool: WorkerPool | None
) -> tuple[Problem, float]:
    """The network and those images, and the seconds an image that views of it take beyond the first pass."""
    plan = prepared.strategy.plan(config)
    context = FitContext(plan=plan, patience=config.patience, reporter=Reporter())
    started = time.monotonic()
    problem = preparation.problem_of(config, taken, prepared, context=context, pool=pool)
    seconds = time.monotonic() - started
    return problem, 0.0 if problem.features is taken.features else seconds / len(taken.bytes)


def _looks(prepared: Prepared, images: int) -> int:
    """How many views are computed to try the steps of the augmentation."""
    given, extractor = prepared.given, prepared.extractor
    if given.weights == "none":
        return 0
    has_mirrored = extractor is not None and extractor.first_views > 1
    steps = label_trial.steps_of(
        given.augment, is_drawn=not prepared.strategy.takes_one_pass(given), has_mirrored=has_mirrored
    )
    sample = label_trial.sample_size(len(prepared.listing.classes), images=images)
    return sample * (len(steps) - (has_mirrored and MIRROR in steps) + (extractor is None and bool(steps)))


def _solved(problem: Problem, images: int) -> float:
    """The seconds in which a head is solved for, from those of a look at the features that are there, repeated."""
    features, train = kinds.present(problem.features), problem.train
    rows = np.resize(train.rows, min(images, SOLVED_ON))
    seen = Rows.of(features, rows, train)
    _, objective = probe.prepare(seen, torch.ones(train.num_classes))
    start = torch.zeros(train.num_classes, seen.width + 1)
    looks = [timings.seconds(partial(objective, start), device="cpu") for _ in range(LOOKS)]
    size = images * len(features.views)
    passes = PASSES if size * seen.width * train.num_classes <= FOLDS_UP_TO else PASSES_OF_MANY
    return passes * min(looks) * size / len(seen)


def _pixels(prepared: Prepared, taken: FirstPass) -> tuple[float, float]:
    """Bytes of a decoded photo, and those of them that the cache takes up, in the mean."""
    photos = [prepared.photos.read(taken.listing.paths[row]) for row in range(min(PHOTOS, len(taken.bytes)))]
    sizes = np.array([photo.nbytes for photo in photos])
    return float(sizes.mean()), float((sizes * [photo.is_stored for photo in photos]).mean())


def _memory(prepared: Prepared, *, held: int) -> int:
    """Bytes of the process at its peak: what it had so far, what it is going to hold, and copies of the weights."""
    state = sum(tensor.nbytes for tensor in prepared.model.state_dict().values())
    return runtime.peak_memory() + held + 3 * state
