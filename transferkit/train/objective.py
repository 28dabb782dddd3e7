"""What a linear classifier minimises, summed up over blocks of rows.

A point is one tensor (K, D + 1): the weights of standardised features, and in its last column the biases.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from transferkit.train.feature_blocks import Blocks, Scale


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Mean cross-entropy + l2 * sum(W ** 2), where W acts on the features of `blocks` on `scale`.

    Every block is used and let go before the next is read, always in the same order.

    Shapes: shares (K,), what an image of each class counts; over all rows they sum to 1.
    """

    blocks: Blocks
    scale: Scale
    shares: Tensor
    l2: float = 0.0

    def __call__(self, point: Tensor) -> tuple[float, Tensor]:
        """Value and gradient."""
        weight, bias = unscaled(point, self.scale)
        loss, of_weight, of_bias = 0.0, torch.zeros_like(weight), torch.zeros_like(bias)
        for x, labels in self.blocks:
            log_p = torch.addmm(bias, x, weight.T).log_softmax(1)  # (B, K)
            share = self.shares[labels]  # (B,)
            target = labels[:, None]
            loss -= torch.dot(log_p.gather(1, target)[:, 0].double(), share.double()).item()
            slope = log_p.exp_().mul_(share[:, None]).scatter_add_(1, target, -share[:, None])
            of_weight.addmm_(slope.T, x)
            of_bias += slope.sum(0)
        gradient = torch.empty_like(point)
        torch.addr(of_weight, of_bias, self.scale.mean, alpha=-1, out=of_weight)
        torch.div(of_weight, self.scale.deviation, out=gradient[:, :-1])
        gradient[:, :-1].add_(point[:, :-1], alpha=2 * self.l2)
        gradient[:, -1] = of_bias
        return loss + self.l2 * point[:, :-1].square().sum().item(), gradient


def shares_of(labels: np.ndarray, class_weights: Tensor, *, views: int) -> Tensor:
    """What an image of each class counts (K,) so that all of them, each in all views, count 1."""
    counts = np.bincount(labels, minlength=len(class_weights))
    return class_weights / (views * float(counts @ class_weights.double().numpy()))


def unscaled(point: Tensor, scale: Scale) -> tuple[Tensor, Tensor]:
    """The weight (K, D) and bias (K,) that do on features as they are what `point` does on `scale`."""
    weight = point[:, :-1] / scale.deviation
    return weight, point[:, -1] - weight @ scale.mean


def scaled(weight: Tensor, bias: Tensor, scale: Scale) -> Tensor:
    """The point that does on `scale` what `weight` and `bias` do on features as they are."""
    return torch.cat([weight * scale.deviation, (bias + weight @ scale.mean)[:, None]], 1)
