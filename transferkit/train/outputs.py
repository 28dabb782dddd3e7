"""What a network answers for images as they are."""

from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from transferkit import ranks
from transferkit.kernels import single_precision
from transferkit.model.build import Backbone
from transferkit.model.eval_batch import batch_of, halved, joined
from transferkit.runtime import FP32, arithmetic
from transferkit.train.loop import Inputs, Loader, eval_batches


@torch.no_grad()
def logits_of(
    network: nn.Module, loader: Loader, rows: np.ndarray, *, num_classes: int, precision: str = FP32
) -> np.ndarray:
    """The logits (n, K) of `network` in eval mode for the images of `rows`, not augmented.

    Each rank computes a part, and all have the whole.
    """
    network.eval()
    found, device = np.empty((len(rows), num_classes), np.float32), next(network.parameters()).device
    size = ranks.from_first(batch_of(network))  # GPUs may differ
    blocks = ranks.blocks(len(rows), of=size)
    start = blocks[ranks.rank()].start
    for x, batch in loader(eval_batches(rows[blocks[ranks.rank()]], size), None):
        exact = single_precision(device.type, exact=True) if precision == FP32 else nullcontext()  # as it is shipped
        with arithmetic(device, precision), exact:
            logits = halved(lambda some, x=x: network(_rows(x, some)), len(batch), device=device)
        found[start : start + len(batch)] = joined(logits).float().cpu().numpy()
        start += len(batch)
    ranks.fill(found, blocks)
    return found


class _Listening(nn.Module):
    """What the final layers of `model` receive while `network`, which ends with them, answers."""

    def __init__(self, model: Backbone, network: nn.Module):
        super().__init__()
        self.model, self.network = model, network
        self.card = getattr(network, "card", None)  # which says how many images it takes at once

    def forward(self, x: Inputs) -> Tensor:
        return self.model.answer(self.network, x)[1]


def features_of(model: Backbone, network: nn.Module, loader: Loader, rows: np.ndarray) -> np.ndarray:
    """The features (n, D) that the final layers of `model` receive for the images of `rows`, not augmented.

    Args: network, the model or its upper part, whose inputs `loader` gives.
    """
    return logits_of(_Listening(model, network), loader, rows, num_classes=model.num_features)


def _rows(x: Inputs, some: slice) -> Inputs:
    return tuple(each[some] for each in x) if isinstance(x, tuple) else x[some]
