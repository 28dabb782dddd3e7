"""Which backbone suits the images: one pass over some of them with each, a cross-validated probe, no training."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from transferkit import caches, kinds, metrics, policy, ranks, runtime
from transferkit.candidates import Candidates, Choice, chosen, passed_over
from transferkit.config import FinetuneConfig
from transferkit.data.listing import Listing
from transferkit.messages import Reporter
from transferkit.model import build, timings
from transferkit.model.features import Features
from transferkit.preparation import Prepared, complete, problem_of, read_images
from transferkit.progress import Progress
from transferkit.train import head, logme
from transferkit.train.context import FitContext
from transferkit.train.feature_blocks import Rows
from transferkit.train.problem import Problem
from transferkit.zoo.errors import ModelFileError, NetworkError, StorageError, UsageError

MOST = 2000  # images that are looked at
OF_A_CLASS = 4  # of them at least, if there are so many
BYTES = 4  # of a weight, as it is shipped
SHARED = {
    "data",
    "workers",
    "cache_dir",
    "device",
    "offline",
    "seed",
    "bit_depth",
    "image_size",
    "augment",
    "precision",
}


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """What a backbone came to.

    Fields: accuracy, its 95 % interval and loss, the mean log loss in nats, of a probe on images that it was not fitted
    to, in five folds, or on the validation images where folds would take long, which is said; logme; milliseconds of
    the network a photo, here; megabytes of its weights; is_ahead, whether none that is as fast has a lower loss.
    """

    backbone: str
    accuracy: float
    interval: tuple[float, float]
    loss: float
    logme: float
    milliseconds: float
    megabytes: float
    license: str
    is_ahead: bool = False


def best(config: FinetuneConfig, listing: Listing, progress: Progress) -> str:
    """The name of the backbone that is ranked first of those whose weights are here and free for commercial use."""
    first = rank(config, listing, chosen(None, Choice(commercial=True), config, progress), progress)[0]
    progress.say(f"backbone {first.backbone}: the lowest log loss in cross-validation, {first.loss:.3f}")
    return first.backbone


def rank(
    config: FinetuneConfig, listing: Listing, candidates: Candidates, progress: Progress, *, most: int = MOST
) -> list[Ranked]:
    """The candidates, the best one with features of its last stages and with another beside it, where that helps.

    The lowest log loss is first.

    Test images take no part. Features are kept, so that a run with one of them, not with a pair, computes those that it
    has already seen no second time.

    Args: most, how many images are looked at, of each class its share.
    Raises: as `finetune`.
    """
    given = {field.name: getattr(config, field.name) for field in fields(config) if field.name in SHARED}
    few = _some(listing, most)
    tried, failed = [], None

    def judged(name: str) -> _Tried:
        prepared = complete(FinetuneConfig(**given, backbone=name, strategy="probe"), few, Progress())
        progress.say(f"{prepared.model.card.name}:")
        with prepared.arithmetic():
            return _judged(prepared, progress)

    for name in candidates.names:
        try:
            tried.append(judged(name))
        except (UsageError, ModelFileError, NetworkError, StorageError) as error:
            if candidates.are_named or ranks.size() > 1:  # the others wait for this rank
                raise
            progress.say(passed_over(name, error))
            failed = error
    if failed and not tried:
        raise failed
    tried.sort(key=lambda each: each.found.loss)
    if name := build.deeper_name(tried[0].found.backbone):
        try:
            deeper = judged(name)
            if metrics.is_better(deeper.log_losses, tried[0].log_losses):
                tried.insert(0, deeper)
        except UsageError as error:  # nobody asked for it
            progress.say(passed_over(name, error))
    found = [each.found for each in tried]
    if pair := _best_pair(tried, progress):
        found = sorted([*found, pair], key=lambda each: each.loss)
    return [replace(each, is_ahead=_is_ahead(each, found)) for each in found]


def _some(listing: Listing, most: int) -> Listing:
    """Images to train and validate on, of each class its share."""
    rows = np.flatnonzero(listing.parts != "test")
    every = Rows(views=(np.empty((0, 0)),), rows=rows, labels=listing.labels[rows], task=listing.task)
    share = every.thinned(most).rows
    counts = listing.task.counts(listing.labels[share], len(listing.classes))
    rare = [_first(listing, rows, int(k)) for k in np.flatnonzero(counts < OF_A_CLASS)]
    return listing.subset(np.unique(np.concatenate([share, *rare])))


def _first(listing: Listing, rows: np.ndarray, k: int) -> np.ndarray:
    """Some of `rows` that have class k, those to validate on last: a rare class has to have its share, too."""
    labels = listing.labels[rows]
    found = rows[(labels[:, k] > 0) if labels.ndim == 2 else (labels == k)]
    return found[np.argsort(listing.parts[found] == "val", kind="stable")][:OF_A_CLASS]


@dataclass(frozen=True, kw_only=True)
class _Tried:
    """A backbone, what it came to, and what came to that; log_losses (n,) are of the images that judged it."""

    found: Ranked
    problem: Problem
    log_losses: np.ndarray


def _best_pair(tried: list[_Tried], progress: Progress) -> Ranked | None:
    """The backbone that gains most for its milliseconds when it lies beside the best one; None if none clearly gains.

    Args: tried, the best one first.
    """
    first, *rest = tried
    others = [each for each in rest if not first.found.backbone.startswith(f"{each.found.backbone}{build.DEPTH}")]
    if not others:
        return None
    progress.say(f"side by side with {first.found.backbone}:")
    better = []
    for other in others:
        pair = _beside(first, other)
        progress.say(f"  {other.found.backbone}: log loss {pair.found.loss:.3f}")
        gains = pair.found.accuracy > first.found.accuracy
        if gains and metrics.is_better(pair.log_losses, first.log_losses):
            better.append((first.found.loss - pair.found.loss, other.found.milliseconds, pair.found))
    return max(better, key=lambda each: each[0] / each[1])[2] if better else None


def _beside(one: _Tried, other: _Tried) -> _Tried:
    """Two backbones side by side, by the features that each of them gave."""
    views = zip(*(kinds.present(each.problem.features).views for each in (one, other)))
    widths = (*kinds.present(one.problem.features).widths, *kinds.present(other.problem.features).widths)
    features = Features(views=tuple(np.concatenate(pair, axis=1) for pair in views), widths=widths)
    a, b = one.found, other.found
    about = {
        "backbone": f"{a.backbone}{build.SIDE_BY_SIDE}{b.backbone}",
        "milliseconds": a.milliseconds + b.milliseconds,
        "megabytes": a.megabytes + b.megabytes,
        "license": ", ".join(dict.fromkeys((a.license, b.license))),
    }
    return _probed(replace(one.problem, features=features), about, Progress())


def _judged(prepared: Prepared, progress: Progress) -> _Tried:
    """A backbone by its probe."""
    prepared, taken, config, _ = policy.tried(prepared, *read_images(prepared, progress), progress)
    context = FitContext(plan=None, patience=config.patience, reporter=Reporter())
    card = prepared.model.card
    about = {
        "backbone": card.name,
        "milliseconds": _milliseconds(prepared),
        "megabytes": BYTES * card.parameters / 1e6,
        "license": card.license,
    }
    return _probed(problem_of(config, taken, prepared, context=context), about, progress)


def _probed(problem: Problem, about: dict[str, Any], progress: Progress) -> _Tried:
    """What a head on the features of a problem comes to. Args: about, the fields that have nothing to do with it."""
    probe = head.solve(problem, l2=None)
    if probe.note:
        progress.say(probe.note)
    task, labels = problem.train.task, problem.train.labels[probe.rows]
    scores = task.scores(probe.logits, labels, None if problem.groups is None else problem.groups[probe.rows])
    targets = labels if labels.ndim == 2 else np.eye(problem.train.num_classes)[labels]
    found = Ranked(
        **about,
        accuracy=scores["accuracy"],
        interval=tuple(scores["interval"]),
        loss=scores["loss"],
        logme=logme.logme(kinds.present(problem.features).plain[probe.rows], targets),
    )
    return _Tried(found=found, problem=problem, log_losses=task.log_losses(probe.logits, labels))


def _milliseconds(prepared: Prepared) -> float:
    """How long the network takes for the features of a photo."""
    model, device, precision = prepared.model, prepared.device, prepared.precision.features

    def measure() -> dict[str, float]:
        x = timings.noise(model, device=device)

        def work() -> None:
            with torch.no_grad(), runtime.arithmetic(device, precision):
                model.features(x)

        work()
        return {"seconds": min(timings.seconds(work, device=device) for _ in range(5))}

    what = {"timed": "features", "precision": precision, "threads": torch.get_num_threads()}
    model.eval()
    found = timings.looked_up(model, what, measure, device=device, cache=caches.folder_of(prepared.given))
    return 1000 * found["seconds"] / timings.IMAGES


def _is_ahead(one: Ranked, found: list[Ranked]) -> bool:
    """Whether no other is better and as fast: it is on the Pareto front of log loss and time."""
    return not any(
        other.loss <= one.loss
        and other.milliseconds <= one.milliseconds
        and (other.loss < one.loss or other.milliseconds < one.milliseconds)
        for other in found
    )
