"""What a strategy hands out: the networks it found, how they answer for other rows, and the evidence for them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from transferkit import kinds
from transferkit.model.build import Backbone
from transferkit.train import descent, head, outputs, state, wise_ft
from transferkit.train.descent import Descent
from transferkit.train.modes import TrainingMode
from transferkit.train.problem import Problem
from transferkit.zoo.errors import DivergedError

REFIT_IMAGES = 2000  # up to here a fit to all images is worth as much time again


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A classifier: one network, or the members of an ensemble.

    Fields: chosen, the way that won; rows, those that judge it, and their logits; predict, the logits of other rows;
    notes, lines for the reader; snapshots, that block of metrics.json.

    Shapes: rows (n,), logits (n, K).
    """

    chosen: str
    networks: tuple[Backbone, ...]
    rows: np.ndarray
    logits: np.ndarray
    predict: Callable[[np.ndarray], np.ndarray]
    notes: tuple[str, ...] = ()
    snapshots: dict[str, Any] | None = None


def probed(
    problem: Problem, found: head.ProbeFit, *notes: str, chosen: str, snapshots: dict[str, Any] | None = None
) -> Fitted:
    """The model with a probe as its head, judged by logits from fits without the image: of folds, or to train alone.

    Args: chosen, its name; snapshots, the comparison of those that were not better.
    """
    features = kinds.present(problem.features)
    problem.model.set_linear(found.final.weight, found.final.bias)
    return Fitted(
        chosen=chosen,
        networks=(problem.model,),
        rows=found.rows,
        logits=found.logits,
        predict=lambda rows: found.final.predict(features.plain, rows),
        notes=(*notes, found.note) if found.note else notes,
        snapshots=snapshots and snapshots | {"chosen": chosen},
    )


def trained(problem: Problem, mode: TrainingMode, descended: Descent, *notes: str) -> Fitted:
    """What a descent leaves: its best epoch or its snapshots; of few images, a fit to train and val for as many epochs.

    It is judged by the validation images, which the fit before the last has not seen.
    """
    if descended.snapshots is None:
        notes = (*notes, f"best epoch: {descended.epochs}")
    members = descended.members
    if len(problem.train.rows) + len(problem.val.rows) <= REFIT_IMAGES:
        found = state.snapshot(mode.network)
        try:
            again = _refitted(problem, mode, epochs=descended.epochs, share=descended.share)
            members = again if members else ()
            notes = (*notes, "then fitted to train and validation together; the validation score is of the fit before")
        except DivergedError as error:
            mode.network.load_state_dict(found)
            notes = (*notes, f"not fitted to train and validation together: {error}")
    mode.settle()
    copies = [_copy(problem, mode, member) for member in members] or [(problem.model, mode.network)]

    def predict(rows: np.ndarray) -> np.ndarray:
        logits = [
            outputs.logits_of(network, mode.loader, rows, num_classes=problem.val.num_classes) for _, network in copies
        ]
        return problem.val.task.mean(logits) if members else logits[0]

    return Fitted(
        chosen=mode.name,
        networks=tuple(model for model, _ in copies),
        rows=problem.val.rows,
        logits=descended.logits,
        predict=predict,
        notes=notes,
        snapshots=descended.snapshots,
    )


def _refitted(problem: Problem, mode: TrainingMode, *, epochs: int, share: float) -> tuple[state.State, ...]:
    """Train the network of `mode` from its start on all images, and leave the weights `share` of the way.

    Returns: the ends of the cycles.
    Raises: DivergedError.
    """
    mode.restart()
    start = state.snapshot(mode.network)
    rows = np.sort(np.concatenate([problem.train.rows, problem.val.rows]))
    context = replace(problem.context, plan=kinds.present(problem.context.plan).shortened(epochs))
    everything = replace(problem.train, rows=rows)
    ends = descent.repeat(mode.network, mode.optimizer(), mode.loader, everything, context)
    if share < 1:
        mode.network.load_state_dict(wise_ft.between(start, state.snapshot(mode.network), share))
    return ends


def _copy(problem: Problem, mode: TrainingMode, member: state.State) -> tuple[Backbone, nn.Module]:
    """The model with the weights of a member, and its part that was trained; what is frozen is shared by all."""
    mode.network.load_state_dict(member)
    mode.settle()
    shared = {id(p): p for p in problem.model.parameters() if not p.requires_grad}
    return copy.deepcopy((problem.model, mode.network), shared)
