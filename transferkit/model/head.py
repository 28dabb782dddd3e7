"""New heads on a backbone."""

import torch

from transferkit import seeds
from transferkit.model.build import Backbone


def reset_head(model: Backbone, num_classes: int, *, dropout: float = 0.0, seed: int = 0) -> Backbone:
    """Replace the final linear layers of `model` by new ones, He-initialised with zero bias, and return it.

    Args: dropout is the share of features set to zero in training, 0 <= dropout < 1; seed decides the weights.
    Raises: UsageError for fewer than one class or a dropout outside its range.
    Source: He et al. 2015, equation 10, https://arxiv.org/abs/1502.01852
    """
    generator = torch.Generator().manual_seed(seeds.integer(seed, "head"))
    model.reset_head(num_classes, dropout=dropout, generator=generator)
    return model
