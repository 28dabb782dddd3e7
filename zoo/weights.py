"""Weights files: from a foreign pickle, and whether they fit a network.

A pickle can run code when it is read. The only place that reads one is `import_pickle`, in a child process that keeps
tensors alone.
"""

import math
import os
import subprocess
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.zoo import children, limits, pickle_contents
from transferkit.zoo.errors import ModelFileError, StorageError, UsageError
from transferkit.zoo.files import check_free, storage_errors, sync_folder, write_safetensors
from transferkit.zoo.text import first_line, printable

if TYPE_CHECKING:
    from torch import Tensor, nn

IMPORT_SECONDS, CPU_SECONDS = 600, 25  # torch takes 3 s, 20,000 tensors 5 s; the second is for 100 MB
LOOK_BYTES, SPARE_BYTES = 128 << 20, 128 << 20  # of memory besides what tensors take
OUT_OF_TIME, KILLED = -24, -9  # SIGXCPU; SIGKILL, by which a system ends what takes too much memory
MAX_TENSORS, MAX_NAME = 20_000, 512
DTYPES = {"float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"}
WRAPPERS = ("state_dict", "model_ema", "ema", "model", "net")  # keys under which training scripts put the weights


def import_pickle(source: Path, target: Path, *, overwrite: bool = False, names: Sequence[str] = ()) -> None:
    """Write the weights in a foreign `.pth` file to `target` as safetensors; the pickle is read in a child process.

    Args: overwrite, whether a file that lies there is replaced; `source` itself never is. names, what the tensors are
    called from now on, in the order of the file; none keeps their names.
    Raises: UsageError if `source` is missing, RunConflictError if `target` is there, ModelFileError if `source` holds
    anything but one network's weights, or others than `names` says, StorageError.
    """
    if not source.is_file():
        raise UsageError(f"no such file: {source}")
    check_free(target, overwrite=overwrite, sources=[source])
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            written = Path(scratch) / "weights.safetensors"  # by a child that may be killed
            _convert(source, written, names)
            os.replace(written, target)
        sync_folder(target.parent)


def _convert(source: Path, target: Path, names: Sequence[str]) -> None:
    command = children.command("transferkit.zoo.weights", str(source), str(target), *names, ends_with_this=True)
    try:
        child = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=IMPORT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ModelFileError(f"{source} was not read within {IMPORT_SECONDS} seconds") from error
    if child.returncode:
        reason = (child.stderr.strip().splitlines() or [f"its reader ended with {child.returncode}"])[-1]
        if child.returncode == StorageError.exit_code:
            raise StorageError(reason.replace(str(target), f"the weights of {source}"))
        if child.returncode == OUT_OF_TIME:
            reason = "reading it takes longer than any weights of its size"
        elif child.returncode == KILLED:
            reason = "its reader was killed; the machine may be out of memory"
        raise ModelFileError(f"{source} is refused: {printable(reason)}")


def _child(source: str, target: str, *names: str) -> int:
    """Read a pickle and write its tensors, under other names if given; the body of the child process.

    Returns its exit code.
    """
    size = os.stat(source).st_size
    try:
        limits.processor(seconds=CPU_SECONDS + size // (100 << 20))
        limits.memory(LOOK_BYTES + size)
        pickle_contents.check(Path(source))
        limits.memory(None)
        tensors = _read(source, size)
        write_safetensors(Path(target), renamed(tensors, names) if names else tensors)
    except StorageError as error:
        sys.stderr.write(first_line(error))
        return error.exit_code
    except Exception as error:
        sys.stderr.write(_reason(error))  # the parent reads it
        return 1
    return 0


def _read(source: str, size: int) -> "dict[str, Tensor]":
    import torch

    torch.set_num_threads(1)  # each has memory of its own
    limits.memory(SPARE_BYTES + 2 * size)  # the file, and a copy where tensors share memory or lie in another order
    tensors = find_tensors(torch.load(source, map_location="cpu", weights_only=True))
    check_tensors(tensors, size=size)
    return _apart(tensors)


def _reason(error: Exception) -> str:
    """Why a file is refused: in our words, or the first line of a library's, less its advice to run the file's code."""
    line = first_line(error)
    if isinstance(error, ModelFileError):
        return line
    if isinstance(error, MemoryError) or "memory" in line:
        return "it takes more memory than any weights of its size"
    return "its pickle is damaged, or holds more than tensors" if "weights_only" in line else f"it is damaged ({line})"


def find_tensors(content: Any) -> "dict[str, Tensor]":
    """The one dictionary of names to tensors in a checkpoint, with `module.` of DataParallel taken off.

    Raises: ModelFileError if there is none, or if names fall together.
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
            found = {name.removeprefix("module."): value for name, value in candidate.items()}
            if len(found) < len(candidate):
                raise ModelFileError("it has tensors whose names differ only in `module.`")
            return found
    raise ModelFileError(f"it has no dictionary of tensors, neither outermost nor under {', '.join(WRAPPERS)}")


def check_tensors(tensors: "Mapping[str, Tensor]", *, size: int) -> None:
    """Refuse what no network's weights are: odd names, odd kinds, values that are nowhere or no numbers.

    Args: size, the bytes of the file that they are from.
    Raises: ModelFileError naming the first such tensor.
    """
    import torch

    if len(tensors) > MAX_TENSORS:
        raise ModelFileError(f"it has {len(tensors):,} tensors, more than the {MAX_TENSORS:,} allowed")
    total = 0
    for name, tensor in tensors.items():
        if not name or not name.isprintable() or len(name) > MAX_NAME:
            raise ModelFileError(f"it has a tensor whose name is no plain text, or too long: {printable(name[:80])}")
        kind = str(tensor.dtype).removeprefix("torch.")
        is_plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
        if not is_plain or tensor.device.type != "cpu" or tensor.is_nested or kind not in DTYPES:
            raise ModelFileError(f"{name} is no plain tensor: {kind}, {tensor.layout}, on {tensor.device}")
        room, stored = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
        total += room
        if room > stored:
            raise ModelFileError(
                f"{name} is of shape {tuple(tensor.shape)}, {room:,} bytes, but only {stored:,} are stored"
            )
        if total > 2 * size:
            raise ModelFileError("its tensors lie over each other: together they are over twice as large as the file")
    odd = [name for name, tensor in tensors.items() if not _is_finite(tensor)]
    if odd:
        raise ModelFileError(
            f"{odd[0]} has values that are not finite (NaN or infinity); so have {len(odd)} of {len(tensors)} tensors"
        )


def _is_finite(tensor: "Tensor") -> bool:
    """Whether all values are; without a second tensor of that size."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    low, high = tensor.detach().aminmax()
    return math.isfinite(low) and math.isfinite(high)


def _apart(tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """The tensors, those that share memory copied: a safetensors file has each by itself."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.detach().clone() if place in seen else tensor.detach()
        seen.add(place)
    return apart


def renamed(tensors: "Mapping[str, Tensor]", names: Sequence[str]) -> "dict[str, Tensor]":
    """The tensors under new names, in their order: the last word of each, such as `weight` or `running_mean`, stays.

    Raises: ModelFileError if they are others than these.

    >>> renamed({"_fc.weight": 1, "_fc.bias": 2}, ["classifier.weight", "classifier.bias"])
    {'classifier.weight': 1, 'classifier.bias': 2}
    """
    was, now = ([name.rpartition(".")[2] for name in each] for each in (tensors, names))
    if was != now:
        raise ModelFileError(f"it has {len(was)} tensors, which are not the network's {len(now)} in their order")
    return dict(zip(names, tensors.values()))


def load_state(model: "nn.Module", tensors: "Mapping[str, Tensor]", *, source: Path) -> None:
    """Copy `tensors` into `model`; every name and shape must be the same.

    Raises: ModelFileError that says in one line what differs.
    """
    expected = model.state_dict()
    difference = misfit(expected, tensors)
    if difference:
        raise ModelFileError(f"{source} does not fit the network: {difference}")
    state = OrderedDict(tensors)
    vars(state).update(vars(expected))  # `_metadata`, module versions: safetensors keeps none, MNASNet asks for one
    model.load_state_dict(state)


def check_finite(model: "nn.Module", source: Path) -> None:
    """Refuse weights that are no numbers: every answer would be none. Raises: ModelFileError naming the tensor."""
    for name, tensor in model.state_dict().items():
        if not _is_finite(tensor):
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


if __name__ == "__main__":
    raise SystemExit(_child(*sys.argv[1:]))
