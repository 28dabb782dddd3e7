"""Weights files: from a foreign pickle, and whether they fit a network.

A pickle can run code when it is read. The only place that reads one is `import_pickle`, in a child process that keeps
tensors alone.
"""

import os
import subprocess
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.zoo import children
from transferkit.zoo.errors import ModelFileError, StorageError, UsageError
from transferkit.zoo.files import check_free, storage_errors, sync_folder, write_safetensors

if TYPE_CHECKING:
    from torch import Tensor, nn

IMPORT_SECONDS = 600
WRAPPERS = ("state_dict", "model_ema", "ema", "model", "net")  # keys under which training scripts put the weights


def import_pickle(source: Path, target: Path, *, overwrite: bool = False) -> None:
    """Write the weights in a foreign `.pth` file to `target` as safetensors; the pickle is read in a child process.

    Args: overwrite, whether a file that lies there is replaced; `source` itself never is.
    Raises: UsageError if `source` is missing, RunConflictError if `target` is there, ModelFileError if `source` holds
    anything but one network's weights, StorageError.
    """
    if not source.is_file():
        raise UsageError(f"no such file: {source}")
    check_free(target, overwrite=overwrite, sources=[source])
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            written = Path(scratch) / "weights.safetensors"  # by a child that may be killed
            _convert(source, written)
            os.replace(written, target)
        sync_folder(target.parent)


def _convert(source: Path, target: Path) -> None:
    command = children.command("transferkit.zoo.weights", str(source), str(target), ends_with_this=True)
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ModelFileError(f"{source} was not read within {IMPORT_SECONDS} seconds") from error
    if child.returncode:
        reason = child.stderr.strip().splitlines() or [f"the reader ended with {child.returncode}"]
        if child.returncode == StorageError.exit_code:
            raise StorageError(reason[-1].replace(str(target), f"what {source} holds"))
        raise ModelFileError(f"{source} is refused: {reason[-1]}")


def _child(source: str, target: str) -> int:
    """Read a pickle and write its tensors; the body of the child process. Returns its exit code."""
    import torch

    try:
        write_safetensors(Path(target), find_tensors(torch.load(source, map_location="cpu", weights_only=True)))
    except Exception as error:
        sys.stderr.write(first_line(error))  # the parent reads it
        return error.exit_code if isinstance(error, StorageError) else 1
    return 0


def find_tensors(content: Any) -> "dict[str, Tensor]":
    """The one dictionary of names to tensors in a checkpoint, with `module.` of DataParallel taken off.

    Raises: ModelFileError if there is none.
    """
    import torch

    if not isinstance(content, Mapping):
        raise ModelFileError(f"it holds a {type(content).__name__}, not a dictionary of tensors")
    for candidate in (content, *(content.get(key) for key in WRAPPERS)):
        if (
            isinstance(candidate, Mapping)
            and candidate
            and all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in candidate.items())
        ):
            return {name.removeprefix("module."): value.clone() for name, value in candidate.items()}
    raise ModelFileError(f"it has no dictionary of tensors, neither outermost nor under {', '.join(WRAPPERS)}")


def load_state(model: "nn.Module", tensors: "Mapping[str, Tensor]", *, source: Path) -> None:
    """Copy `tensors` into `model`; every name and shape must be the same.

    Raises: ModelFileError that says in one line what differs.
    """
    expected = model.state_dict()
    difference = misfit(expected, tensors)
    if difference:
        raise ModelFileError(f"{source} does not fit the network: {difference}")
    state = OrderedDict(tensors)
    state._metadata = expected._metadata  # module versions: safetensors keeps none, MNASNet asks for one
    model.load_state_dict(state)


def check_finite(model: "nn.Module", source: Path) -> None:
    """Refuse weights that are no numbers: every answer would be none. Raises: ModelFileError naming the tensor."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelFileError(f"{source} is refused: {name} has values that are not finite")


def misfit(expected: "Mapping[str, Tensor]", found: "Mapping[str, Tensor]") -> str:
    """What keeps `found` from being loaded where `expected` is; empty if nothing does."""
    shapes = [name for name in expected if name in found and expected[name].shape != found[name].shape]
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    if (
        shapes
        and not missing
        and not extra
        and all(expected[name].shape[1:] == found[name].shape[1:] for name in shapes)
    ):
        return f"file has {found[shapes[0]].shape[0]} classes, {expected[shapes[0]].shape[0]} asked"
    reasons = []
    if missing:
        reasons.append(f"{len(missing)} of {len(expected)} tensors are missing (first {missing[0]})")
    if extra:
        reasons.append(f"{len(extra)} are unknown to it (first {extra[0]})")
    if shapes:
        was, now = (tuple(side[shapes[0]].shape) for side in (found, expected))
        reasons.append(f"{len(shapes)} have another shape (first {shapes[0]}: {was}, not {now})")
    return "; ".join(reasons)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


if __name__ == "__main__":
    raise SystemExit(_child(*sys.argv[1:]))
