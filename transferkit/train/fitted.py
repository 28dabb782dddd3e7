"""What a strategy hands out: the networks it found, how they answer for other rows, and the evidence for them."""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from transferkit import kinds
from transferkit.model.build import Backbone
from transferkit.model.mirror import MirrorAveraged
from transferkit.train import descent, head, mirror_trial, outputs, state, wise_ft
from transferkit.train.descent import Descent
from transferkit.train.modes import TrainingMode
from transferkit.train.problem import Problem
from transferkit.train.wise_ft import Mixture
from transferkit.zoo.errors import DivergedError


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A classifier: one network, or the members of an ensemble.

    Fields: chosen, the way that won; rows, those that judge it, and the logits of each network for them, from a fit
    without the image; predict, those of each for other rows; features, what the final layers of the last network
    receive for rows; judged, in words which images the rows are, what judges them and what else they chose; notes,
    lines for the reader; is_refitted, whether the networks were fitted once more, to the rows that judge too;
    snapshots, tta, tried and learning_curve, those blocks of metrics.json.

    Shapes: rows (n,), logits (n, K) each.
    """

    chosen: str
    networks: tuple[Backbone, ...]
    rows: np.ndarray
    logits: tuple[np.ndarray, ...]
    predict: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    features: Callable[[np.ndarray], np.ndarray]
    judged: str = ""
    notes: tuple[str, ...] = ()
    is_refitted: bool = False
    snapshots: dict[str, Any] | None = None
    tta: dict[str, Any] | None = None
    tried: dict[str, Any] | None = None
    learning_curve: dict[str, Any] | None = None


def probed(
    problem: Problem,
    found: head.ProbeFit,
    *notes: str,
    chosen: str,
    by_validation: str = "",
    snapshots: dict[str, Any] | None = None,
) -> Fitted:
    """The model with a probe as its head, judged by logits from fits without the image: of folds, or to train alone.

    Args: chosen, its name; by_validation, what the validation images alone have chosen; snapshots, the comparison of
    those that were not better.
    """
    judged = _each_once(found.rows, "a fit") if found.by_cross_validation else _by_training(problem, found.rows)
    if by_validation:
        judged += f"; the {len(problem.val.rows):,} of validation alone chose {by_validation}"
    features = kinds.present(problem.features)
    found.final.put_into(problem.model)
    alone = Fitted(
        chosen=chosen,
        networks=(problem.model,),
        rows=found.rows,
        logits=(found.logits,),
        predict=lambda rows: (found.final.predict(features.plain, rows),),
        features=lambda rows: features.plain[rows],
        judged=judged,
        notes=(*notes, found.note) if found.note else notes,
        snapshots=snapshots and snapshots | {"chosen": chosen},
    )
    return alone if found.mirrored is None else _averaged(problem, alone, ((found.logits + found.mirrored) / 2,))


def mixed(problem: Problem, mode: TrainingMode, mixture: Mixture, *notes: str) -> Fitted:
    """The mean of what several fits found, each image judged by the one that has not seen it."""
    mode.settle()

    def predict(rows: np.ndarray) -> tuple[np.ndarray, ...]:
        return (outputs.logits_of(mode.network, mode.loader, rows, num_classes=problem.val.num_classes),)

    alone = Fitted(
        chosen=mode.name,
        networks=(problem.model,),
        rows=mixture.rows,
        logits=(mixture.logits,),
        predict=predict,
        features=_features(problem, mode, (problem.model, mode.network)),
        judged=_each_once(mixture.rows, f"one of {mixture.folds} fits"),
        notes=(mixture.note, *notes),
    )
    return alone if mixture.mirrored is None else _averaged(problem, alone, (mixture.mirrored,))


def _averaged(problem: Problem, alone: Fitted, logits: tuple[np.ndarray, ...]) -> Fitted:
    """`alone`, or if that is better, the same networks with their answers averaged over mirror images.

    Args: logits (n, K) of each, what they would answer then for the rows that judge, from a fit without the image.
    """
    task, labels = problem.train.task, problem.train.labels[alone.rows]
    block = mirror_trial.compare(task.mean(alone.logits), task.mean(logits), labels, task)
    tried = replace(alone, notes=(*alone.notes, mirror_trial.note(block)), tta=block)
    if not block["used"]:
        return tried
    return replace(tried, logits=logits, predict=lambda rows: _mirrored(problem, alone.networks, rows))


def _mirrored(problem: Problem, networks: Iterable[Backbone], rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """What each network answers, averaged over mirror images. Shapes: rows (n,) -> (n, K) each."""
    images, num_classes = kinds.present(problem.images), problem.val.num_classes
    return tuple(outputs.logits_of(MirrorAveraged(each), images, rows, num_classes=num_classes) for each in networks)


def trained(problem: Problem, mode: TrainingMode, descended: Descent, *notes: str, chosen: str = "") -> Fitted:
    """What a descent leaves: its best epoch or its snapshots; of few images, a fit to train and val for as many epochs.

    It is judged by the validation images, which the fit before the last has not seen.

    Args: chosen, what these have chosen beside the epoch or the snapshots.
    """
    if descended.snapshots is not None:
        chosen = " and ".join(filter(None, ("the snapshots", chosen)))
    elif problem.context.to_the_end:
        notes = (*notes, f"epochs: {descended.epochs}")
    else:
        chosen = " and ".join(filter(None, ("the epoch", chosen)))
        notes = (*notes, f"best epoch: {descended.epochs}")
    members, images = descended.members, len(problem.train.rows) + len(problem.val.rows)
    averaged = _mirrored(problem, _in_turn(problem, mode, members), problem.val.rows) if problem.images else None
    is_refitted, longest = False, descended.epochs * descended.seconds * images / len(problem.train.rows)
    if problem.are_few and not problem.context.deadline.allows(longest):
        notes = (*notes, "not fitted to train and validation together: --budget leaves no time for it")
    elif problem.are_few:
        found = state.snapshot(mode.network)
        try:
            again = _refitted(problem, mode, epochs=descended.epochs, share=descended.share)
            members, is_refitted = again if members else (), True
            notes = (*notes, "then fitted to train and validation together")
        except DivergedError as error:
            mode.network.load_state_dict(found)
            notes = (*notes, f"not fitted to train and validation together: {error}")
    mode.settle()
    copies = [_copy(problem, mode, member) for member in members] or [(problem.model, mode.network)]

    def predict(rows: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(
            outputs.logits_of(network, mode.loader, rows, num_classes=problem.val.num_classes) for _, network in copies
        )

    alone = Fitted(
        chosen=mode.name,
        networks=tuple(model for model, _ in copies),
        rows=problem.val.rows,
        logits=descended.member_logits or (descended.logits,),
        predict=predict,
        features=_features(problem, mode, copies[-1]),
        judged=f"{_by_training(problem, problem.val.rows)}; they also chose {chosen}",
        notes=notes,
        is_refitted=is_refitted,
        snapshots=descended.snapshots,
    )
    return alone if averaged is None else _averaged(problem, alone, averaged)


def _features(
    problem: Problem, mode: TrainingMode, copy: tuple[Backbone, nn.Module]
) -> Callable[[np.ndarray], np.ndarray]:
    """What the final layers receive, given a model and its part that was trained."""
    if mode.trains_network:
        return lambda rows: outputs.features_of(*copy, mode.loader, rows)
    return lambda rows: kinds.present(problem.features).plain[rows]


def _each_once(rows: np.ndarray, fit: str) -> str:
    return f"each of the {len(rows):,} training and validation images, by {fit} that has not seen it"


def _by_training(problem: Problem, rows: np.ndarray) -> str:
    of = "" if len(rows) == len(problem.val.rows) else f"{len(rows):,} of "
    return f"{of}the {len(problem.val.rows):,} validation images, by a fit to the training images alone"


def _in_turn(problem: Problem, mode: TrainingMode, members: tuple[state.State, ...]) -> Iterator[Backbone]:
    """The model as each of the members, or if there are none, as it has been trained."""
    for member in members or (state.snapshot(mode.network),):
        mode.network.load_state_dict(member)
        mode.settle()
        yield problem.model


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
