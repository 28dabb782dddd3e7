"""The augmentation of a run as its photos allow it: what does harm left out, what is as harmless as nothing added."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from transferkit import presets, ranks
from transferkit.config import ResolvedConfig
from transferkit.data import augment as augmentations
from transferkit.data.views import Views
from transferkit.data.worker_pool import WorkerPool
from transferkit.model.eval_batch import batch_of
from transferkit.model.features import Extractor
from transferkit.preparation import Prepared
from transferkit.presets import Step
from transferkit.progress import Progress
from transferkit.train import label_trial, loader
from transferkit.train.first_pass import FirstPass
from transferkit.train.label_trial import Outcome, Sample
from transferkit.train.loop import eval_batches


def tried(
    prepared: Prepared,
    taken: FirstPass,
    config: ResolvedConfig,
    progress: Progress,
    *,
    pool: WorkerPool | None = None,
) -> tuple[Prepared, FirstPass, ResolvedConfig, dict[str, Any]]:
    """All three with the augmentation that trying it on some of the photos has left; what run.json has of the trial.

    An augmentation that is to be obeyed as written stays, and nothing is tried; nor with random weights, whose features
    say nothing of what photos are of.
    """
    given, extractor = prepared.given, prepared.extractor
    steps = label_trial.steps_of(
        given.augment,
        is_drawn=not prepared.strategy.takes_one_pass(given),
        has_mirrored=extractor is not None and extractor.first_views > 1,
    )
    if not steps or given.weights == "none":
        return prepared, taken, config, {}
    found = ranks.from_first(asdict(_trial(prepared, taken, steps, pool)) if ranks.is_first() else None)
    trial = Outcome(augment=found["augment"], lines=tuple(found["lines"]), figures=found["figures"])
    for line in trial.lines:
        progress.say(line)
    record = {**trial.figures, "lines": list(trial.lines)}
    return *applied(prepared, taken, config, augment=trial.augment), record


def applied(
    prepared: Prepared, taken: FirstPass, config: ResolvedConfig, *, augment: str
) -> tuple[Prepared, FirstPass, ResolvedConfig]:
    """All three with another augmentation than what they were read for: less of the features, or other views."""
    if augment == prepared.given.augment:
        return prepared, taken, config
    strategy, extractor = prepared.strategy, prepared.extractor
    given, features = replace(prepared.given, augment=augment), taken.features
    views = strategy.feature_views(given)
    if extractor and features:
        extractor = replace(extractor, views=views, mirrors=given.mirrors)
        features = replace(features, views=features.views[: extractor.first_views])
    name = "none" if strategy.takes_one_pass(given) else given.augment
    drawn = augmentations.load(name, prepared.model.card.preprocessing)
    prepared = replace(prepared, given=given, augment=drawn, extractor=extractor)
    config = replace(config, augment=augment, views=config.views if strategy.trains_network else views)
    return prepared, replace(taken, features=features), config


def _trial(prepared: Prepared, taken: FirstPass, steps: tuple[Step, ...], pool: WorkerPool | None) -> Outcome:
    """Try them on photos of train and val."""
    listing, given = taken.listing, prepared.given
    extractor = replace(prepared.extractor or Extractor(model=prepared.model), cache=None)
    kept = taken.features if prepared.extractor else None

    def view(step: Step | None, rows: np.ndarray) -> np.ndarray:
        """Features (n, D) of `rows`, those that the first pass has left or computed now."""
        if kept and step is None:
            return kept.plain[rows]
        if kept and step == presets.MIRROR and len(kept.views) > 1:
            return kept.views[1][rows]
        images = loader.image_loader(
            listing.paths,
            Views(augmentations.certain(step, prepared.model.card.preprocessing), given.seed),
            photos=prepared.photos,
            device=prepared.device,
            pool=pool,
        )
        batches = images(eval_batches(rows, batch_of(extractor.model)), 0)
        return extractor.augmented(((x, np.searchsorted(rows, some)) for x, some in batches), count=len(rows))

    return label_trial.run(given.augment, steps, Sample.of(taken, seed=given.seed), view)
