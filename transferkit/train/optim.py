"""Optimisers over the stages of a network."""

from typing import Any

import torch

from transferkit.model.build import Backbone

BETAS = (0.9, 0.999)


def parameter_groups(
    model: Backbone, *, lr: float, layer_decay: float, l2: float, head_factor: float = 1.0
) -> list[dict[str, Any]]:
    """One group of parameters a trainable stage, its learning rate `layer_decay` times that of the stage above it.

    Decay is for weights alone: vectors (biases, normalisation) get none. Each group keeps its rate in "base_lr".

    Args: lr, the rate of the deepest stage below the head; head_factor, the head's rate over it.

    Source: Clark et al. 2020, appendix A (layer-wise decay), https://arxiv.org/abs/2003.10555
    """
    groups = []
    for height, (_, parameters) in enumerate(reversed(model.stage_parameters().items())):
        trainable = [p for _, p in parameters if p.requires_grad]
        rate = lr * (head_factor if height == 0 else layer_decay ** (height - 1))
        for chosen, decay in (([p for p in trainable if p.ndim > 1], l2), ([p for p in trainable if p.ndim <= 1], 0.0)):
            if chosen:
                groups.append({"params": chosen, "lr": rate, "base_lr": rate, "weight_decay": decay})
    return groups


def adamw(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """AdamW over `groups`; its decay is decoupled: each step shrinks a weight by lr * weight_decay of itself.

    Source: Loshchilov and Hutter 2019, algorithm 2, https://arxiv.org/abs/1711.05101
    """
    return torch.optim.AdamW(groups, betas=BETAS)


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Give every group its base rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
