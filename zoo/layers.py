"""Final layers of a classifier: linear maps with dropout in front, and how they are initialised."""

import math

import torch
from torch import Tensor, nn


@torch.no_grad()
def he_normal(weight: Tensor, *, generator: torch.Generator | None = None) -> None:
    """Fill `weight` with normal numbers of variance 2 / fan-in, drawn on the CPU so that every device gets the same.

    Shapes: (out, in, ...); fan-in is the number of weights that one output sees.
    Source: He et al. 2015, equation 10, https://arxiv.org/abs/1502.01852
    """
    std = math.sqrt(2 / weight[0].numel())
    weight.copy_(torch.empty(weight.shape).normal_(0, std, generator=generator))


class Linear(nn.Linear):
    """A linear layer with dropout on its input; its state has the names of `nn.Linear`, so dropout changes no file.

    Shapes: (B, D) -> (B, K).
    """

    def __init__(self, in_features: int, out_features: int, *, dropout: float = 0.0):
        super().__init__(in_features, out_features)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, self.dropout, self.training))


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution with dropout on its input: the form that a few networks give their linear head.

    Shapes: (B, D, H, W) -> (B, K, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int, *, dropout: float = 0.0):
        super().__init__(in_channels, out_channels, 1)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, self.dropout, self.training))


def new_head(old: nn.Linear | nn.Conv2d, num_classes: int, *, dropout: float, generator: torch.Generator | None):
    """A fresh layer in the form of `old` with `num_classes` outputs: He-initialised weight, zero bias."""
    if isinstance(old, nn.Conv2d):
        head = PointwiseConv2d(old.in_channels, num_classes, dropout=dropout)
    else:
        head = Linear(old.in_features, num_classes, dropout=dropout)
    he_normal(head.weight, generator=generator)
    nn.init.zeros_(head.bias)
    return head.to(old.weight).requires_grad_(old.weight.requires_grad).train(old.training)
