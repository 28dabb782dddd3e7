"""Ways of training by mini-batches: through the network, or a head alone on features computed once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import nn
from torch.optim import Optimizer

from transferkit.model.build import Backbone
from transferkit.model.features import Features
from transferkit.model.freezer import freeze
from transferkit.model.head import linear_head
from transferkit.train import head, optim, state
from transferkit.train.descent import Work
from transferkit.train.loop import Examples, Supply

FRESH_HEAD_FACTOR = 5  # learning rate of a head that starts at random, over that of the stage below it


@dataclass(frozen=True, kw_only=True)
class Method:
    """The constants of a fit; `optimizer` "lbfgs" solves for the head, the others train by mini-batches.

    `l2` None lets cross-validation choose it, which L-BFGS alone can.
    """

    optimizer: str
    lr: float | None
    layer_decay: float
    l2: float | None
    dropout: float = 0.0  # these two are for a head on features; a network has them in its own head
    dropconnect: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A network with a fresh head, the images to fit it to, and how.

    `features` are those of the network as it is, None where no probe is wanted; `groups` (N,) names images that
    belong together. `network` is what training goes through, the model or its part above what is frozen, and `supply`
    has its inputs.
    """

    model: Backbone
    features: Features | None
    network: nn.Module
    supply: Supply
    train: Examples
    val: Examples
    groups: np.ndarray | None
    work: Work
    freeze: str | None
    method: Method


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of training by mini-batches.

    Fields: network, what is trained, and supply, its inputs; optimizer makes a fresh one; restart puts the network
    where the fit to training and validation images together begins; settle puts into the model what it has learned.
    """

    name: str
    network: nn.Module
    supply: Supply
    optimizer: Callable[[], Optimizer]
    restart: Callable[[], None]
    settle: Callable[[], None]


def through_network(problem: Problem, *, name: str, restart: Callable[[], None], head_factor: float) -> Way:
    """All stages that are not frozen; `head_factor` is the head's learning rate over that of the stage below it."""
    model, method = problem.model, problem.method

    def optimizer() -> Optimizer:
        groups = optim.parameter_groups(
            model, lr=method.lr, layer_decay=method.layer_decay, l2=method.l2, head_factor=head_factor
        )
        return optim.make(method.optimizer, groups)

    freeze(model, problem.freeze)
    return Way(
        name=name,
        network=problem.network,
        supply=problem.supply,
        optimizer=optimizer,
        restart=restart,
        settle=lambda: None,
    )


def on_features(problem: Problem) -> Way:
    """A head alone, on the features computed once."""
    model, method = problem.model, problem.method
    freeze(model, "backbone")
    features = head.standardise(problem.features, problem.train.rows)
    layer = linear_head(
        model.num_features,
        model.num_classes,
        dropout=method.dropout,
        dropconnect=method.dropconnect,
        seed=problem.work.plan.seed,
    )

    def settle() -> None:
        found = features.for_raw(layer)
        model.set_linear(found.weight, found.bias)

    return Way(
        name="probe",
        network=layer,
        supply=features.supply,
        optimizer=lambda: optim.make(method.optimizer, optim.groups_of(layer.parameters(), lr=method.lr, l2=method.l2)),
        restart=partial(layer.load_state_dict, state.snapshot(layer)),
        settle=settle,
    )
