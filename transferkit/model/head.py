"""New heads for networks."""

import torch
from torch import nn

from transferkit import seeds
from transferkit.model.build import Backbone, Dropping, new_head


def reset_head(
    model: Backbone,
    num_classes: int,
    *,
    dropout: float = 0.0,
    dropconnect: float = 0.0,
    seed: int = 0,
) -> Backbone:
    """Replace the final linear layers of `model` by new ones, He-initialised with zero bias, and return it.

    After DropConnect `model` predicts as the mean network, and so does a model saved, which knows of no masks. For the
    mean probability over masks there is `model.reset_head` with a `Dropping`.

    Args: dropout is the share of features set to zero in training, dropconnect that of the weights, anew for each
    image; both from 0 to below 1, one of them 0. seed decides the weights.
    Raises: UsageError for fewer than one class, or values that are not allowed or not together.
    Source: He et al. 2015, equation 10, https://arxiv.org/abs/1502.01852; Wan et al. 2013 (DropConnect),
    https://proceedings.mlr.press/v28/wan13.html
    """
    dropping = Dropping(dropout=dropout, dropconnect=dropconnect)
    model.reset_head(num_classes, dropping=dropping, generator=_generator(seed))
    return model


def linear_head(
    num_features: int, num_classes: int, *, dropout: float = 0.0, dropconnect: float = 0.0, seed: int = 0
) -> nn.Linear:
    """A head of its own, to be trained on features; the arguments are those of `reset_head`.

    Shapes: (B, num_features) -> (B, num_classes).
    """
    form = nn.Linear(num_features, num_classes)
    dropping = Dropping(dropout=dropout, dropconnect=dropconnect)
    return new_head(form, num_classes, dropping=dropping, generator=_generator(seed))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seeds.integer(seed, "head"))
