"""The header of a safetensors file, checked before anything is allocated: names, kinds and shapes, which fill the file.

Source: https://github.com/huggingface/safetensors#format
"""

import json
import math
from pathlib import Path
from typing import Any

from transferkit.zoo.errors import ModelFileError

MAX_HEADER_BYTES = 4 << 20  # that of the largest timm network is under 200 kB
MAX_DIMENSIONS = 8
MAX_VALUES = 2**48  # of a tensor, and of an empty one without its zeros: strides are products of sizes and overflow
BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}


def read(path: Path) -> dict[str, tuple[int, ...]]:
    """The name and shape of every tensor. Raises: ModelFileError saying why it cannot be the file of a network."""
    with open(path, "rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        header = file.read(length) if 2 <= length <= MAX_HEADER_BYTES else b""
    if not header.startswith(b"{"):
        if start.startswith((b"PK", b"\x80\x02")):
            raise ModelFileError(
                f"{path} is a pickle, which can run code; convert it: transferkit import {path} -o NEW.safetensors"
            )
        raise ModelFileError(f"{path} is not a safetensors file")
    try:
        entries = json.loads(header, object_pairs_hook=_unique_pairs)
        entries.pop("__metadata__", None)
        _check_places([_place(name, entry) for name, entry in entries.items()], path.stat().st_size - 8 - length)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} has a damaged header: {error}") from error
    return {name: tuple(entry["shape"]) for name, entry in entries.items()}


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _place(name: str, entry: Any) -> tuple[int, int]:
    """Where a tensor begins and ends. Raises: ValueError if its place has not the size that its shape needs."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r:.80} has not dtype, shape and data_offsets")
    dtype, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BYTES:
        raise ValueError(f"{name!r:.80} is of the unknown kind {dtype!r:.20}")
    if not (_are_sizes(shape) and len(shape) <= MAX_DIMENSIONS and _are_sizes(place) and len(place) == 2):
        raise ValueError(f"{name!r:.80} has no shape, or no place")
    if math.prod(size or 1 for size in shape) > MAX_VALUES:
        raise ValueError(f"{name!r:.80} has a shape beyond all memory")
    if place[1] - place[0] != math.prod(shape) * BYTES[dtype]:
        raise ValueError(f"{name!r:.80} has another size than its shape")
    return place[0], place[1]


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**48 for value in values)


def _check_places(places: list[tuple[int, int]], size: int) -> None:
    """Raise ValueError unless the places lie one after the other and fill the file."""
    end = 0
    for start, stop in sorted(places):
        if start != end:
            raise ValueError("its tensors overlap or leave gaps")
        end = stop
    if end != size:
        raise ValueError(f"its tensors have {end:,} bytes, the file {size:,}")
