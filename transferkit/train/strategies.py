"""The ways from a pretrained network to a classifier: probe, finetune, lp-ft, and auto, which chooses by validation.

Source: LP-FT is Kumar et al. 2022, section 4, https://arxiv.org/abs/2202.10054
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from transferkit import metrics, ranks
from transferkit.model.build import Backbone
from transferkit.model.freezer import freeze
from transferkit.train import descent, ensemble, head, loop, state
from transferkit.train.descent import Descent
from transferkit.train.state import State
from transferkit.train.ways import FRESH_HEAD_FACTOR, Problem, Way, on_features, through_network
from transferkit.zoo.errors import DivergedError

REFIT_IMAGES = 2000  # up to here a fit to all images is worth as much time again


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a strategy left in the model: which way won, the logits of the rows that judge it, and lines for the reader.

    `members` are the networks of an ensemble, none where the model alone is kept; `snapshots` is the block of
    metrics.json.

    Shapes: rows (n,), logits (n, K); `predict` gives the logits of other rows.
    """

    kept: str
    rows: np.ndarray
    logits: np.ndarray
    predict: Callable[[np.ndarray], np.ndarray]
    notes: tuple[str, ...] = ()
    members: tuple[Backbone, ...] = ()
    snapshots: dict[str, Any] | None = None


def run(strategy: str, problem: Problem) -> Fitted:
    """Fit `problem.model` in place by one of `config.STRATEGIES`."""
    model, method = problem.model, problem.method
    untouched = state.snapshot(model)
    if strategy == "finetune":
        restart = partial(model.load_state_dict, untouched)
        way = through_network(problem, name=strategy, restart=restart, head_factor=FRESH_HEAD_FACTOR)
        return _trained(problem, way, _descend(problem, way))
    if strategy == "probe" and method.optimizer != "lbfgs":
        return _head_on_batches(problem)
    found = _solve(problem, l2=method.l2 if strategy == "probe" else None)

    def restart() -> None:
        model.load_state_dict(untouched)
        model.set_linear(found.final.weight, found.final.bias)

    if strategy == "probe":
        restart()
        return _probed(problem, found)
    way = through_network(problem, name="lp-ft", restart=restart, head_factor=1)
    model.set_linear(found.of_train.weight, found.of_train.bias)
    try:
        descended = _descend(problem, way)
    except DivergedError as error:
        if strategy == "lp-ft":
            raise
        restart()
        return _probed(problem, found, f"the probe is kept: fine-tuning diverged, {error}")
    if strategy == "lp-ft":
        return _trained(problem, way, descended)
    labels = problem.val.labels[problem.val.rows]
    probed = _validation_logits(problem, found)
    before, after = (metrics.log_losses(logits, labels).mean() for logits in (probed, descended.logits))
    figures = f"loss on the {len(labels)} validation images {after:.3f} against {before:.3f} of the probe"
    if ranks.from_first(metrics.is_better(descended.logits, probed, labels)):
        return _trained(problem, way, descended, f"fine-tuning is kept: {figures}")
    restart()
    note = f"the probe is kept, fine-tuning is not clearly better: {figures}"
    return _probed(problem, found, note, snapshots=descended.snapshots)


def _solve(problem: Problem, *, l2: float | None) -> head.Probe:
    """The probe; each rank solves for it, which takes no longer than waiting, and all take that of the first."""
    parts = (problem.train, problem.val)
    found = head.fit_probe(problem.features, parts, l2=l2, groups=problem.groups, work=problem.work)
    linear = [weights for fit in (found.final, found.of_train) for weights in (fit.weight, fit.bias)]
    ranks.copy_first([*linear, torch.from_numpy(found.logits)])
    return replace(found, l2=ranks.from_first(found.l2))


def _validation_logits(problem: Problem, found: head.Probe) -> np.ndarray:
    return found.of_train.predict(problem.features.plain, problem.val.rows)


def _head_on_batches(problem: Problem) -> Fitted:
    """A head trained on the cached features; with the L2 given, or else the one that suits the exact solution best."""
    notes = ()
    if problem.method.l2 is None:
        found = _solve(problem, l2=None)
        loss = metrics.log_losses(_validation_logits(problem, found), problem.val.labels[problem.val.rows]).mean()
        by = "cross-validation" if found.note is None else "the validation images"
        notes = (f"L2 {found.l2:g} by {by}; solved for by L-BFGS the head has validation loss {loss:.3f}",)
        problem = replace(problem, method=replace(problem.method, l2=found.l2))
    way = on_features(problem)
    return _trained(problem, way, _descend(problem, way), *notes)


def _probed(problem: Problem, found: head.Probe, *notes: str, snapshots: dict[str, Any] | None = None) -> Fitted:
    """What a probe leaves; it is judged by logits from fits without the image: of the folds, or to train alone.

    Args: snapshots, the comparison of those that were not better than the probe.
    """
    freeze(problem.model, "backbone")
    notes = notes if found.note is None else (*notes, found.note)

    def predict(wanted: np.ndarray) -> np.ndarray:
        return found.final.predict(problem.features.plain, wanted)

    return Fitted(
        kept="probe",
        rows=found.rows,
        logits=found.logits,
        predict=predict,
        notes=notes,
        snapshots=snapshots and snapshots | {"kept": "probe"},
    )


def _descend(problem: Problem, way: Way) -> Descent:
    """Train on the training images; if that diverges, the model has the best epoch before.

    Raises: DivergedError.
    """
    try:
        return descent.descend(way.network, way.optimizer(), way.supply, (problem.train, problem.val), problem.work)
    except DivergedError:
        way.settle()
        raise


def _trained(problem: Problem, way: Way, descended: Descent, *notes: str) -> Fitted:
    """What a descent leaves: its best epoch or its snapshots; of few images, a fit to train and val for as many epochs.

    It is judged by the validation images, which the fit before the last has not seen.
    """
    if descended.snapshots is None:
        notes = (*notes, f"best epoch: {descended.epochs}")
    members, rows = descended.members, _train_and_val(problem)
    if len(rows) <= REFIT_IMAGES:
        found = state.snapshot(way.network)
        way.restart()
        everything = replace(problem.train, rows=rows)
        work = replace(problem.work, plan=problem.work.plan.shortened(descended.epochs))
        try:
            again = descent.repeat(way.network, way.optimizer(), way.supply, everything, work)
            members = again if members else ()
            notes = (*notes, "then fitted to train and validation together; the validation score is of the fit before")
        except DivergedError as error:
            way.network.load_state_dict(found)
            notes = (*notes, f"not fitted to train and validation together: {error}")
    way.settle()

    def network_of(member: State) -> Backbone:
        way.network.load_state_dict(member)
        way.settle()
        shared = {id(p): p for p in problem.model.parameters() if not p.requires_grad}  # frozen: the same in all
        return copy.deepcopy(problem.model, shared)

    def predict(wanted: np.ndarray) -> np.ndarray:
        logits = []
        for member in members or (state.snapshot(way.network),):
            way.network.load_state_dict(member)
            logits.append(loop.logits_of(way.network, way.supply, wanted, num_classes=problem.val.num_classes))
        return ensemble.mean_softmax(logits) if members else logits[0]

    return Fitted(
        kept=way.name,
        rows=problem.val.rows,
        logits=descended.logits,
        predict=predict,
        notes=notes,
        members=tuple(network_of(member) for member in members),
        snapshots=descended.snapshots,
    )


def _train_and_val(problem: Problem) -> np.ndarray:
    return np.sort(np.concatenate([problem.train.rows, problem.val.rows]))
