"""Which kernels a CUDA device computes with: products in TF32 or in all bits, convolutions that were searched for."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

SEARCH_STEPS = 1000  # of training: a search takes a second or two, and saves a few per cent of a step


@contextmanager
def single_precision(device: str, *, exact: bool) -> Iterator[None]:
    """What single precision means on a CUDA device through the block: TF32, whose products have 10 bits, or all 23.

    Elsewhere, and after the block, nothing is changed.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#tensorfloat-32-tf32-on-ampere-and-later-devices
    """
    if not device.startswith("cuda"):
        yield
        return
    import torch

    cudnn: Any = torch.backends.cudnn  # a module that is an object of properties
    before = torch.get_float32_matmul_precision(), cudnn.conv.fp32_precision == "tf32"
    _take("highest" if exact else "high", not exact)
    try:
        yield
    finally:
        _take(*before)


def _take(matrices: str, convolutions: bool) -> None:
    """Compute products of matrices in that precision of torch's, and convolutions in TF32 or in all bits.

    Not by setting `fp32_precision`: torch.compile also reads the older settings, which raise where only the newer were
    changed (https://github.com/pytorch/pytorch/issues/166387). Setting the older changes both, of which early versions
    of the newer warn.
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_float32_matmul_precision(matrices)
        cudnn: Any = torch.backends.cudnn
        cudnn.allow_tf32 = convolutions


@contextmanager
def convolution_search(device: "torch.device", *, steps: int) -> Iterator[None]:
    """Let cuDNN try its convolutions for each shape through the block, and take the fastest, where that may pay.

    Not where fewer than `SEARCH_STEPS` follow, nor where results must repeat: two searches may end differently.
    """
    import torch

    cudnn: Any = torch.backends.cudnn
    before, is_repeatable = cudnn.benchmark, torch.are_deterministic_algorithms_enabled()
    cudnn.benchmark = before or (device.type == "cuda" and steps >= SEARCH_STEPS and not is_repeatable)
    try:
        yield
    finally:
        cudnn.benchmark = before
