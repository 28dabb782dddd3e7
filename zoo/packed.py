"""Weights in 8 bits: a quarter of the size of single precision, for the networks that travel with the package.

A matrix or convolution NAME becomes two tensors, `NAME.int8` and, for each of its rows (outputs), the size of one step
in `NAME.scale`. A matrix that is a product of two thin ones becomes four: those of `NAME.left` and `NAME.right`.
All other tensors stay as they are.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from transferkit.zoo.errors import ModelFileError
from transferkit.zoo.files import read_safetensors

LEVELS = 127  # on either side of zero
MAX_PRODUCT = 1 << 27  # numbers in all products of a file: 0.5 GB; a few kB of thin factors could ask for terabytes


def pack(
    state: Mapping[str, Tensor], *, low_rank: Mapping[str, tuple[Tensor, Tensor]] | None = None
) -> dict[str, Tensor]:
    """The tensors to store for `state`; what `low_rank` names is stored as the two factors given there.

    Shapes: (out, in) and (out, in, H, W) are packed; factors are (out, rank) and (rank, in).
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if low_rank and name in low_rank:
            for side, factor in zip(("left", "right"), low_rank[name]):
                tensors |= _quantised(f"{name}.{side}", factor)
        elif tensor.is_floating_point() and tensor.ndim in (2, 4):
            tensors |= _quantised(name, tensor)
        else:
            tensors[name] = tensor
    return tensors


def _quantised(name: str, weight: Tensor) -> dict[str, Tensor]:
    """The group of a weight; each number moves by at most half a step of its row.

    A step of 8 significant bits makes every multiple of it exact in single precision, so packing what was unpacked
    changes nothing.
    """
    rows = weight.detach().float().flatten(1)  # (out, in)
    scale = (rows.abs().amax(1) / LEVELS).bfloat16().float()
    scale = scale.clamp_min(torch.finfo(torch.float32).tiny)  # a row of zeros has no step of its own
    steps = (rows / scale[:, None]).round().clamp(-LEVELS, LEVELS)
    return {f"{name}.int8": steps.to(torch.int8).view(weight.shape), f"{name}.scale": scale}


def read(path: Path) -> dict[str, Tensor]:
    """The weights in a safetensors file, packed or not, in single precision.

    Raises: UsageError if it is missing, ModelFileError naming it if it is damaged.
    """
    tensors = read_safetensors(path)
    try:
        return unpack(tensors)
    except ModelFileError as error:
        raise ModelFileError(f"{path} is refused: {error}") from error


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state that was packed, with all floating-point numbers in single precision.

    Raises: ModelFileError naming a weight whose tensors are incomplete or do not fit each other, or products that are
    too large.
    """
    state: dict[str, Tensor] = {}
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        stem, _, kind = name.rpartition(".")
        if kind in ("int8", "scale"):
            groups.setdefault(stem, {})[kind] = tensor
        else:
            state[name] = tensor.float() if tensor.is_floating_point() else tensor
    for name, group in groups.items():
        _check_group(name, group)
    products = {name.rpartition(".")[0] for name in groups if name.endswith((".left", ".right"))}
    _check_products(products, groups)
    whole = {name: group for name, group in groups.items() if name.rpartition(".")[0] not in products}
    twice = state.keys() & (products | whole.keys()) or products & whole.keys()
    if twice:
        raise ModelFileError(f"{min(twice)} is stored in two ways")
    state |= {name: _weight(group) for name, group in whole.items()}
    return state | {name: _weight(groups[f"{name}.left"]) @ _weight(groups[f"{name}.right"]) for name in products}


def _weight(group: Mapping[str, Tensor]) -> Tensor:
    steps = group["int8"].float()
    return steps.mul_(group["scale"].view(-1, *[1] * (steps.ndim - 1)))


def _check_group(name: str, group: Mapping[str, Tensor]) -> None:
    """Raises: ModelFileError unless there are 8-bit rows and a finite step for each of them."""
    missing = {"int8", "scale"} - group.keys()
    if missing:
        raise ModelFileError(f"{name}.{missing.pop()} is missing")
    steps, scale = group["int8"], group["scale"]
    if steps.dtype != torch.int8 or steps.ndim < 2 or scale.dtype != torch.float32 or scale.shape != steps.shape[:1]:
        raise ModelFileError(
            f"{name} is not 8-bit rows with a step for each: int8 is {steps.dtype} {tuple(steps.shape)}, "
            f"scale is {scale.dtype} {tuple(scale.shape)}"
        )
    if not scale.isfinite().all():
        raise ModelFileError(f"{name}.scale has values that are not finite")


def _check_products(names: Collection[str], groups: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Raises: ModelFileError unless each name has two factors that can be multiplied, into not too many numbers."""
    numbers = 0
    for name in names:
        for side in ("left", "right"):
            if f"{name}.{side}" not in groups:
                raise ModelFileError(f"{name}.{side}.int8 is missing")
        left, right = (groups[f"{name}.{side}"]["int8"].shape for side in ("left", "right"))
        if len(left) != 2 or len(right) != 2 or left[1] != right[0]:
            raise ModelFileError(f"the factors of {name} cannot be multiplied: {tuple(left)} and {tuple(right)}")
        numbers += left[0] * right[1]
    if numbers > MAX_PRODUCT:
        raise ModelFileError(f"its low-rank weights have {numbers:,} numbers; at most {MAX_PRODUCT:,} are allowed")
