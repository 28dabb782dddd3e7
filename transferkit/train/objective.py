"""What a linear classifier minimises, summed up over blocks of rows.

A point is one tensor (K, D + 1): the weights of standardised features, and in its last column the biases.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from transferkit.tasks import SINGLE_LABEL, Task
from transferkit.train.feature_blocks import Blocks, Scale


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The mean loss of the task + l2 * sum(W ** 2), where W acts on the features of `blocks` on `scale`.

    Every block is used and let go before the next is read, always in the same order.

    Shapes: shares, those of the task, what an image of each class counts; over all rows they sum to 1.
    """

    blocks: Blocks
    scale: Scale
    shares: Tensor
    task: Task = SINGLE_LABEL
    l2: float = 0.0

    def __call__(self, point: Tensor) -> tuple[float, Tensor]:
        """Value and gradient."""
        weight, bias = unscaled(point, self.scale)
        loss, of_weight, of_bias = 0.0, torch.zeros_like(weight), torch.zeros_like(bias)
        for x, labels in self.blocks:
            value, slope = self.task.slope(torch.addmm(bias, x, weight.T), labels, self.shares)  # slope (B, K)
            loss += value
            of_weight.addmm_(slope.T, x)
            of_bias += slope.sum(0)
        gradient = torch.empty_like(point)
        torch.addr(of_weight, of_bias, self.scale.mean, alpha=-1, out=of_weight)
        torch.div(of_weight, self.scale.deviation, out=gradient[:, :-1])
        gradient[:, :-1].add_(point[:, :-1], alpha=2 * self.l2)
        gradient[:, -1] = of_bias
        return loss + self.l2 * point[:, :-1].square().sum().item(), gradient


def unscaled(point: Tensor, scale: Scale) -> tuple[Tensor, Tensor]:
    """The weight (K, D) and bias (K,) that do on features as they are what `point` does on `scale`."""
    weight = point[:, :-1] / scale.deviation
    return weight, point[:, -1] - weight @ scale.mean


def scaled(weight: Tensor, bias: Tensor, scale: Scale) -> Tensor:
    """The point that does on `scale` what `weight` and `bias` do on features as they are."""
    return torch.cat([weight * scale.deviation, (bias + weight @ scale.mean)[:, None]], 1)
