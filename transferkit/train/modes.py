"""Modes of training by mini-batches: through the network, or a head alone on features computed once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn
from torch.optim import Optimizer

from transferkit import kinds
from transferkit.model.head import linear_head
from transferkit.runtime import FP16
from transferkit.train import descent, full_batch, head, optim, state
from transferkit.train.descent import Descent
from transferkit.train.loop import Loader
from transferkit.train.problem import Problem
from transferkit.zoo.errors import DivergedError

FRESH_HEAD_FACTOR = 5  # learning rate of a head that starts at random, over that of the stage below it


@dataclass(frozen=True, kw_only=True)
class TrainingMode:
    """A mode of training by mini-batches.

    Fields: network, what is trained, the head alone or all that `trains_network`, and loader, its inputs; optimizer
    makes a fresh one; restart puts the network where the fit to training and validation images together begins; settle
    puts into the model what it has learned.
    """

    name: str
    trains_network: bool
    network: nn.Module
    loader: Loader
    optimizer: Callable[[], Optimizer]
    restart: Callable[[], object]
    settle: Callable[[], None]


def through_network(problem: Problem, *, name: str, restart: Callable[[], object], head_factor: float) -> TrainingMode:
    """All stages that are not frozen; `head_factor` is the head's learning rate over that of the stage below it."""
    given = problem.hyperparameters

    def optimizer() -> Optimizer:
        if given.optimizer == "lbfgs":
            return full_batch.make(problem.model.parameters(), l2=kinds.present(given.l2))
        groups = optim.parameter_groups(
            problem.model,
            lr=kinds.present(given.lr),
            layer_decay=given.layer_decay,
            l2=kinds.present(given.l2),
            head_factor=head_factor,
        )
        made = optim.make(given.optimizer, groups)
        return optim.scaled(made) if kinds.present(problem.context.plan).precision == FP16 else made

    return TrainingMode(
        name=name,
        trains_network=True,
        network=problem.network,
        loader=problem.loader,
        optimizer=optimizer,
        restart=restart,
        settle=lambda: None,
    )


def on_features(problem: Problem, *, name: str) -> TrainingMode:
    """A head alone, on the features computed once."""
    model, given = problem.model, problem.hyperparameters
    features = head.standardise(kinds.present(problem.features), problem.train.rows)
    layer = linear_head(
        model.num_features,
        model.num_classes,
        dropout=given.dropout,
        dropconnect=given.dropconnect,
        seed=given.seed,
    )

    def optimizer() -> Optimizer:
        lr, l2 = kinds.present(given.lr), kinds.present(given.l2)
        return optim.make(given.optimizer, optim.groups_of(layer.parameters(), lr=lr, l2=l2))

    def settle() -> None:
        features.for_raw(layer).put_into(model)

    return TrainingMode(
        name=name,
        trains_network=False,
        network=layer,
        loader=features.loader,
        optimizer=optimizer,
        restart=partial(layer.load_state_dict, state.snapshot(layer)),
        settle=settle,
    )


def descend(problem: Problem, mode: TrainingMode) -> Descent:
    """Train on the training images; if that diverges, the model has the best epoch before.

    Raises: DivergedError.
    """
    parts = (problem.train, problem.val)
    try:
        return descent.descend(mode.network, mode.optimizer(), mode.loader, parts, problem.context)
    except DivergedError:
        mode.settle()
        raise
