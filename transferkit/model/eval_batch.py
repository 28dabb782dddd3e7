"""Batches without gradients: how many images a network takes at once, and what follows where these are too many."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from transferkit import runtime

EVAL_BATCH = 32  # as fast as any measured on a CPU, and small enough for every accelerator
LARGEST_BATCH = 256  # of a GPU; what fills up a last batch is computed too
BYTES_PER_PIXEL = 1000  # of activations, without gradients: 72 to 848 in 11 networks of timm

T = TypeVar("T")


def batch_of(network: nn.Module) -> int:
    """How many images `network` takes at once where it gives features or is scored.

    Returns: `EVAL_BATCH` on a CPU; for a Backbone on a CUDA device a power of two up to `LARGEST_BATCH` whose
    activations take half of the memory at most. That is of all memory, not of what is free: the same GPU gives the same
    bits in every run.
    """
    card, device = getattr(network, "card", None), next(network.parameters()).device
    memory = runtime.memory_bytes(device)
    if not memory or card is None:
        return EVAL_BATCH
    height, width = card.preprocessing.size_px
    most = memory // (2 * height * width * BYTES_PER_PIXEL)
    return max(EVAL_BATCH, min(1 << most.bit_length() >> 1, LARGEST_BATCH))


def filled(x: Tensor, size: int = EVAL_BATCH) -> Tensor:
    """`x` and blank images after it, up to a multiple of `size`, in the same order of memory.

    The kernel that a library takes, and so the last bits of a row, depend on the size of a batch and on its order of
    memory. Filled up, an image gives the same bits whatever others it comes with.
    """
    blank = -len(x) % size
    return functional.pad(x, (0, 0) * (x.dim() - 1) + (0, blank)) if blank else x


def halved(compute: Callable[[slice], T], count: int, *, device: torch.device) -> list[T]:
    """What `compute` gives for all of `count` rows at once, or where the memory of a GPU runs out, for part after part.

    A part that is too large is divided again; rows of parts may have other last bits. Nothing is kept of what was too
    large: the next call begins with all.
    """
    done: list[T] = []
    left = [slice(0, count)]
    while left:
        part = left.pop()
        try:
            done.append(compute(part))
            continue
        except RuntimeError as error:
            if part.stop - part.start == 1 or not runtime.is_gpu_out_of_memory(error, device):
                raise
        runtime.give_back_memory(device)  # the error is gone, and with it what its traceback held
        middle = (part.start + part.stop) // 2
        left += [slice(middle, part.stop), slice(part.start, middle)]
    return done


def joined(parts: list[Tensor]) -> Tensor:
    """The rows of all parts."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)
