"""Two ways to fit a head to features computed once: solve for it, or train it by mini-batches."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from transferkit import kinds, ranks
from transferkit.model.build import bodies_of
from transferkit.model.features import Features
from transferkit.train import probe, selection
from transferkit.train.feature_blocks import Rows, Scale
from transferkit.train.loop import Examples
from transferkit.train.problem import Problem

FOLDS = 5
FOLDS_UP_TO = 2e8  # rows x features x classes; the path over five folds then takes half a minute to a minute
JUDGED_UP_TO = 5e7  # logits, 200 MB in float32


@dataclass(frozen=True, kw_only=True)
class ProbeFit:
    """A probe and its evidence.

    Fields: final is fitted on train and val, of_train on train alone; logits (n, K) are those of `rows` (n,), each from
    a fit without the image; mirrored, the same of mirror images, where these are wanted; by_cross_validation, whether
    these and the L2 come from folds; note says it where not; each, the probes whose mean it is, where it is one.
    """

    final: probe.Linear
    of_train: probe.Linear
    l2: float
    rows: np.ndarray
    logits: np.ndarray
    by_cross_validation: bool
    mirrored: np.ndarray | None = None
    note: str = ""
    each: "tuple[ProbeFit, ...]" = ()


def solve(problem: Problem, *, l2: float | None, widest: int = 0) -> ProbeFit:
    """The probe; each rank solves for it, which takes no longer than waiting, and all take that of the first.

    Args: those of `fit_probe`.
    """
    found = fit_probe(problem, l2=l2, widest=widest)
    linear = [*found.final.tensors, *found.of_train.tensors]
    answers = [torch.from_numpy(logits) for logits in (found.logits, found.mirrored) if logits is not None]
    ranks.copy_first([*linear, *answers])
    return replace(found, l2=ranks.from_first(found.l2))


def solve_each(problem: Problem) -> ProbeFit:
    """The probe that training goes on from: where networks lie side by side, the mean of those of each alone.

    Each has its own L2, the first's is `l2`.
    """
    if not bodies_of(problem.model):
        return solve(problem, l2=None)
    parts = _apart(problem)
    widest = max(kinds.present(part.features).plain.shape[1] for part in parts)
    found = tuple(solve(part, l2=None, widest=widest) for part in parts)
    layers = [len(kinds.present(part.features).widths) for part in parts]
    mirrored = [each.mirrored for each in found if each.mirrored is not None]
    return replace(
        found[0],
        final=probe.mean([each.final for each in found], layers),
        of_train=probe.mean([each.of_train for each in found], layers),
        logits=np.average([each.logits for each in found], axis=0, weights=layers).astype(np.float32),
        mirrored=np.average(mirrored, axis=0, weights=layers).astype(np.float32) if mirrored else None,
        each=found,
    )


def _apart(problem: Problem) -> list[Problem]:
    """The problem of each network that lies side by side with others, with its own features and records."""
    bodies, features = bodies_of(problem.model), kinds.present(problem.features)
    layers, names = [len(body.heads) for body in bodies], [body.card.name for body in bodies]
    ends = np.cumsum(layers)
    parts = []
    for number, (first, end, name) in enumerate(zip(ends - layers, ends, names), 1):
        start, widths = sum(features.widths[:first]), features.widths[first:end]
        views = tuple(view[:, start : start + sum(widths)] for view in features.views)
        own = problem.context.reporter.of(name if names.count(name) == 1 else f"{name} ({number})")
        context = replace(problem.context, reporter=own)
        parts.append(replace(problem, features=Features(views=views, widths=widths), context=context))
    return parts


def fit_probe(problem: Problem, *, l2: float | None, widest: int = 0) -> ProbeFit:
    """Solve for a head on train and val, and on train alone; L2 by 5-fold cross-validation over both.

    Each image counts once a view; all views of an image, and all images of a group, lie in the same fold. Where rows x
    features x classes are more than `FOLDS_UP_TO`, the validation part takes the place of the folds; as many of its
    images judge as `JUDGED_UP_TO` allows.

    Args: l2, None to choose it; widest, the features of other networks whose probes are judged by the same images.
    """
    features, train, val = kinds.present(problem.features), problem.train, problem.val
    both = np.sort(np.concatenate([train.rows, val.rows]))
    weights = _probe_weights(replace(train, rows=both), problem.hyperparameters.balance)
    asked = {"class_weights": weights, "on_value": problem.context.reporter.record}
    asked |= {} if l2 is None else {"path": (l2,)}

    def seen(rows: np.ndarray) -> Rows:
        return Rows.of(features, rows, train)

    everything, mirrored, note = seen(both), None, ""
    by_cross_validation = len(everything) * max(everything.width, widest) * train.num_classes <= FOLDS_UP_TO
    if by_cross_validation:
        groups = None if problem.groups is None else problem.groups[both]
        folds = train.task.folds(everything.labels, FOLDS, seed=problem.hyperparameters.seed, groups=groups)
        chosen = selection.choose_by_folds(everything, folds, **asked)
        of_train = probe.fit(seen(train.rows), chosen.l2, class_weights=weights, start=chosen.found)
        rows, logits = both, kinds.present(chosen.logits)
        if problem.images:
            mirrored = chosen.second
    else:
        judged = Rows.of(replace(features, views=(features.plain,)), val.rows, val)
        chosen = selection.choose_on_part(seen(train.rows), judged, **asked)
        of_train = chosen.found
        rows = judged.thinned(max(1, int(JUDGED_UP_TO / val.num_classes))).rows
        logits = of_train.predict(features.plain, rows)
        if problem.images:
            mirrored = of_train.predict(features.views[1], rows)
        note = _note(len(rows), len(val.rows))
    return ProbeFit(
        final=probe.fit(everything, chosen.l2, class_weights=weights, start=of_train),
        of_train=of_train,
        l2=chosen.l2,
        rows=rows,
        logits=logits,
        by_cross_validation=by_cross_validation,
        mirrored=mirrored,
        note=note,
    )


def fitted_like(found: ProbeFit, problem: Problem, rows: np.ndarray) -> probe.Linear:
    """The probe that images of `rows` (n,) alone give, with the L2 of `found`; each rank has that of the first."""
    linear = fit_like(found, problem, rows)
    ranks.copy_first(linear.tensors)
    return linear


def fit_like(found: ProbeFit, problem: Problem, rows: np.ndarray) -> probe.Linear:
    """The same, solved for by this rank."""
    if not found.each:
        return fit_to(problem, rows, found.l2, start=found.final)
    parts = _apart(problem)
    fits = [fit_to(part, rows, each.l2, start=each.final) for part, each in zip(parts, found.each)]
    return probe.mean(fits, [len(kinds.present(part.features).widths) for part in parts])


def fit_to(problem: Problem, rows: np.ndarray, l2: float, *, start: probe.Linear | None = None) -> probe.Linear:
    """The probe that images of `rows` (n,) alone give, solved for by this rank."""
    weights = _probe_weights(replace(problem.train, rows=rows), problem.hyperparameters.balance)
    seen = Rows.of(kinds.present(problem.features), rows, problem.train)
    return probe.fit(seen, l2, class_weights=weights, start=start)


def validation_logits(problem: Problem, found: ProbeFit) -> np.ndarray:
    """The logits of the validation rows by the fit that has not seen them; shape (n, K)."""
    return found.of_train.predict(kinds.present(problem.features).plain, problem.val.rows)


def validation_loss(problem: Problem, found: ProbeFit) -> float:
    """The mean log loss of `validation_logits`, in nats."""
    logits = validation_logits(problem, found)
    return float(problem.val.task.log_losses(logits, problem.val.labels[problem.val.rows]).mean())


def _note(judged: int, of: int) -> str:
    how_many = f"the {of:,} validation images" if judged == of else f"{judged:,} of the {of:,} validation images"
    return f"too many images for five folds: judged by a fit to the training images, on {how_many}"


def _probe_weights(examples: Examples, balance: str) -> Tensor:
    """Class weights (K,) of the probe's loss; drawing classes equally often and weighting them is the same problem."""
    if balance == "none":
        return torch.ones(examples.num_classes)
    labels = examples.labels[examples.rows]
    return torch.from_numpy(examples.task.class_weights(labels, examples.num_classes)).float()


@dataclass(frozen=True, kw_only=True)
class Standardised:
    """Features that are shifted and scaled to mean 0 and deviation 1 over the training images as they are asked for."""

    features: Features
    scale: Scale

    def loader(self, batches: list[np.ndarray], epoch: int | None) -> Iterator[tuple[Tensor, np.ndarray]]:
        """A loader for the training loop: epoch e has view e mod V of the images."""
        view = self.features.plain if epoch is None else self.features.views[epoch % len(self.features.views)]
        for rows in batches:
            yield self.scale.apply_(torch.from_numpy(view[rows])), rows

    def for_raw(self, head: nn.Linear) -> probe.Linear:
        """The classifier that does on features as they are what `head` does on these."""
        return probe.linear(torch.cat([head.weight.detach(), head.bias.detach()[:, None]], 1), self.scale)


def standardise(features: Features, rows: np.ndarray) -> Standardised:
    """`features` on the scale of those of `rows`, all views."""
    seen = Rows(views=features.views, rows=rows, labels=rows)
    return Standardised(features=features, scale=Scale.of(seen.blocks(1), features.widths))
