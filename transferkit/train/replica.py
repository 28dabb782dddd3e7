"""One network trained by several ranks: each computes a part of every batch, and all take the same step.

DistributedDataParallel takes the mean of the ranks' gradients; what is here makes that the gradient of the batch.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from transferkit import ranks, seeds

LEAST = 2  # images a rank computes: of one, BatchNorm has no variance to divide by


def replicated(network: nn.Module) -> nn.Module:
    """`network`, which begins as that of the first rank and whose gradients are means over the ranks."""
    if ranks.size() == 1:
        return network
    # a static graph may hold parameters that no output depends on
    return nn.parallel.DistributedDataParallel(network, static_graph=True)


def part(batch: np.ndarray) -> np.ndarray:
    """The rows of `batch` that this rank computes: its part, or any few where that is empty."""
    mine = ranks.shard(batch, least=LEAST)
    return mine if len(mine) else batch[:LEAST]


def share(batch: np.ndarray, image_weights: np.ndarray | None) -> float:
    """The weight of this rank's part of `batch` in the mean loss of the whole; those of all ranks sum to 1.

    It is 0 for a rank whose part is empty.

    Shapes: image_weights (N,) of the data set; None where all images count the same.
    """
    mine = ranks.shard(batch, least=LEAST)
    if image_weights is None:
        return len(mine) / len(batch)
    return image_weights[mine].sum() / image_weights[batch].sum()


def statistics(network: nn.Module) -> list[Tensor]:
    """The running statistics that training moves: each rank's are of its own parts of the batches."""
    layers = _learning(network)
    return [held for layer in layers for held in (layer.running_mean, layer.running_var) if held is not None]


def counters(network: nn.Module) -> list[Tensor]:
    """How many batches each of those layers has seen."""
    return [layer.num_batches_tracked for layer in _learning(network) if layer.num_batches_tracked is not None]


def _learning(network: nn.Module) -> list[_BatchNorm]:
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.training]


def seed_step(seed: int, *, epoch: int, step: int) -> None:
    """Seed what modules draw for themselves, as dropout does, from (seed, epoch, step, rank)."""
    purpose = "dropout" if ranks.is_first() else f"dropout of rank {ranks.rank()}"
    torch.manual_seed(seeds.integer(seed, purpose, epoch, step))
