"""Which backbone suits the images: one pass over some of them with each, a cross-validated probe, no training."""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from transferkit import caches, kinds, policy, ranks, runtime
from transferkit.config import FinetuneConfig
from transferkit.data.listing import Listing
from transferkit.messages import Reporter
from transferkit.model import build, timings
from transferkit.preparation import Prepared, complete, problem_of, read_images
from transferkit.progress import Progress
from transferkit.train import head, logme
from transferkit.train.context import FitContext
from transferkit.train.feature_blocks import Rows

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


def candidates() -> list[str]:
    """The names of networks whose weights are here, where the first rank is, but for the one that knows no photos."""
    return ranks.from_first([name for name in build.at_hand() if name != "cifar_mlp"])


def best(config: FinetuneConfig, listing: Listing, progress: Progress) -> str:
    """The name of the backbone that is ranked first of those whose weights are here."""
    first = rank(config, listing, candidates(), progress)[0]
    progress.say(f"backbone {first.backbone}: the lowest log loss in cross-validation, {first.loss:.3f}")
    return first.backbone


def rank(
    config: FinetuneConfig, listing: Listing, names: list[str], progress: Progress, *, most: int = MOST
) -> list[Ranked]:
    """The backbones of those names, the one with the lowest log loss first; test images take no part.

    Features are kept, so that a run with one of them computes those that it has already seen no second time.

    Args: most, how many images are looked at, of each class its share.
    Raises: as `finetune`.
    """
    given = {field.name: getattr(config, field.name) for field in fields(config) if field.name in SHARED}
    few = _some(listing, most)
    found = []
    for name in dict.fromkeys(names):
        prepared = complete(FinetuneConfig(**given, backbone=name, strategy="probe"), few, Progress())
        progress.say(f"{prepared.model.card.name}:")
        with prepared.arithmetic():
            found.append(_judged(prepared, progress))
    found.sort(key=lambda each: each.loss)
    return [replace(each, is_ahead=_is_ahead(each, found)) for each in found]


def _some(listing: Listing, most: int) -> Listing:
    """Images to train and validate on, of each class its share."""
    rows = np.flatnonzero(listing.parts != "test")
    every = Rows(views=(np.empty((0, 0)),), rows=rows, labels=listing.labels[rows], task=listing.task)
    share = every.thinned(most).rows
    counts = listing.task.counts(listing.labels[share], len(listing.classes))
    rare = [_first(listing, rows, k) for k in np.flatnonzero(counts < OF_A_CLASS)]
    return listing.subset(np.unique(np.concatenate([share, *rare])))


def _first(listing: Listing, rows: np.ndarray, k: int) -> np.ndarray:
    """Some of `rows` that have class k, those to validate on last: a rare class has to have its share, too."""
    labels = listing.labels[rows]
    found = rows[(labels[:, k] > 0) if labels.ndim == 2 else (labels == k)]
    return found[np.argsort(listing.parts[found] == "val", kind="stable")][:OF_A_CLASS]


def _judged(prepared: Prepared, progress: Progress) -> Ranked:
    """A backbone by its probe."""
    prepared, taken, config, _ = policy.tried(prepared, *read_images(prepared, progress), progress)
    context = FitContext(plan=None, patience=config.patience, reporter=Reporter())
    problem = problem_of(config, taken, prepared, context=context)
    probe = head.solve(problem, l2=None)
    if probe.note:
        progress.say(probe.note)
    labels = taken.listing.labels[probe.rows]
    scores = taken.listing.task.scores(probe.logits, labels)
    features, card = kinds.present(problem.features), prepared.model.card
    targets = labels if labels.ndim == 2 else np.eye(len(taken.listing.classes))[labels]
    return Ranked(
        backbone=card.name,
        accuracy=scores["accuracy"],
        interval=tuple(scores["interval"]),
        loss=scores["loss"],
        logme=logme.logme(features.plain[probe.rows], targets),
        milliseconds=_milliseconds(prepared),
        megabytes=BYTES * card.parameters / 1e6,
        license=card.license,
    )


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

    what = {"timed": "features", "precision": precision}
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
