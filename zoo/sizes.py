"""Whether a network takes images of a size, found by one forward pass, and which size near it works."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.zoo import header
from transferkit.zoo.blueprint import Blueprint
from transferkit.zoo.errors import ModelFileError, TransferkitError, UsageError, is_out_of_memory
from transferkit.zoo.files import read_errors
from transferkit.zoo.text import first_line

if TYPE_CHECKING:
    from transferkit.zoo.backbone import Backbone

SLACK = 4_000_000  # numbers, such as a head of other classes, or positions of another image size
STEP_PX = 32  # what most networks divide their images by
TRIES = 12
REAL_PIXELS = 512 * 512  # a pass over more takes longer than to load torch's shape arithmetic


def hollow(blueprint: Blueprint, *, num_classes: int | None = 2) -> "Backbone":
    """The network with shapes alone: no memory, no weights; None for as many classes as it has."""
    import torch

    from transferkit.zoo.unfilled import Unfilled

    with torch.device("meta"), Unfilled():
        return blueprint.build(num_classes=num_classes).eval()


def check_fits(blueprint: Blueprint, weights: Path) -> None:
    """Refuse, before any memory is taken, a network that is of another size than the file of its weights.

    Raises: ModelFileError, StorageError.
    """
    if not weights.is_file():
        return
    with read_errors(weights):
        shapes = header.read(weights)
    inner = getattr(blueprint, "blueprint", blueprint)  # of a folder of ours
    if (layers := _layers(getattr(inner, "model_args", {}))) > len(shapes):
        raise ModelFileError(f"{weights} has {len(shapes):,} tensors, too few for the {layers:,} layers of model_args")
    network = hollow(blueprint, num_classes=None).model
    needed = sum(tensor.numel() for tensor in (*network.parameters(), *network.buffers()))
    found = sum(map(math.prod, shapes.values()))
    if needed > 2 * found + SLACK or found > 2 * needed + SLACK:
        raise ModelFileError(f"{weights} has {found:,} numbers, its network {needed:,}: one is not of the other")


def _layers(arguments: dict[str, Any]) -> int:
    """How many layers arguments of a network ask for at the least."""
    found = 0
    for name, value in arguments.items():
        if any(word in name for word in ("depth", "layers", "blocks")):
            values = value if isinstance(value, (list, tuple)) else [value]
            found = max([found, *(each for each in values if isinstance(each, int))])
    return found


def refusal(backbone: "Backbone") -> str:
    """Why the network cannot compute an image of its size; empty if it can."""
    import torch

    height, width = backbone.card.preprocessing.size_px
    state = {**dict(backbone.model.named_parameters()), **dict(backbone.model.named_buffers())}
    if height * width > REAL_PIXELS:
        state = {name: tensor.to("meta") for name, tensor in state.items()}
    first = next(iter(state.values()))
    image = torch.zeros(1, 3, height, width, device=first.device, dtype=first.dtype)
    try:
        with torch.no_grad():
            torch.func.functional_call(backbone.model, state, (image,))
    except Exception as error:  # whatever the code of a network raises for shapes it was not made for
        if is_out_of_memory(error):
            raise
        return first_line(error)
    return ""


def check(backbone: "Backbone", blueprint: Blueprint, *, native_px: int | None) -> None:
    """Refuse a network that cannot compute images of its size.

    Args: native_px, the side it has without being asked for another one; None where its model file chose the size.
    Raises: UsageError naming a size that works, ModelFileError where the size is the model's own.
    """
    if reason := refusal(backbone):
        raise _error(blueprint, backbone.card.preprocessing.size_px[0], reason, native_px=native_px)


def check_builds(blueprint: Blueprint, size_px: int, *, native_px: int) -> None:
    """Raise UsageError, naming a size that works, if the network cannot even be built for images of that size."""
    if (reason := _refused(blueprint, size_px)) and not _refused(blueprint, native_px):
        raise _error(blueprint, size_px, reason, native_px=native_px)


def _error(blueprint: Blueprint, size_px: int, reason: str, *, native_px: int | None) -> TransferkitError:
    name = blueprint.card().name
    if native_px is None:
        return ModelFileError(f"{name} asks for images of {size_px} px, which its network cannot take: {reason}")
    works = next((size for size in _candidates(size_px, native_px) if not _refused(blueprint, size)), native_px)
    return UsageError(f"{name} takes no images of {size_px} px ({reason}); {works} px works")


def _refused(blueprint: Blueprint, size_px: int) -> str:
    try:
        return refusal(hollow(blueprint.resized(size_px)))
    except TransferkitError as error:
        return str(error)


def _candidates(size_px: int, native_px: int) -> Iterator[int]:
    first = size_px // STEP_PX + 1
    yield from range(first * STEP_PX, (first + TRIES) * STEP_PX, STEP_PX)
    yield native_px
