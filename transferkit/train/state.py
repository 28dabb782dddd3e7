"""What a stopped run needs to go on: safetensors and JSON, a folder an epoch, complete or not there at all.

The two newest are kept. Each is written beside its place and renamed to a name that is not taken, so there is no
instant without one; MANIFEST.json, the hashes of all other files, is written last and must fit byte for byte.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transferkit import kinds
from transferkit.zoo import files, removal
from transferkit.zoo.errors import ModelFileError, StorageError

State = dict[str, Tensor]  # of a network, by the names of its parameters and buffers

MANIFEST = "MANIFEST.json"
GENERATIONS = 2  # that are kept: the newest, and the one before in case that is damaged
NAME = re.compile(r"epoch-(\d{4,})")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Network, its running average and optimiser after some epochs, the best weights so far, and what was recorded.

    `averaged` that is `model`, and `best` that is `averaged`, the same object, are written once. `snapshots` are the
    weights at the ends of the cycles so far, where there are cycles.
    """

    model: State
    averaged: State
    best: State
    optimizer: dict[str, Any]
    records: list[dict[str, Any]]
    snapshots: tuple[State, ...] = ()


def snapshot(network: nn.Module) -> State:
    """A copy of the network's state on the CPU, that later steps do not change."""
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def optimizer_snapshot(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A copy of the optimiser's state dict on the CPU, that later steps do not change."""
    held = optimizer.state_dict()
    slots = {
        number: {
            slot: value.detach().cpu().clone() if isinstance(value, Tensor) else value for slot, value in of.items()
        }
        for number, of in held["state"].items()
    }
    return held | {"state": slots}


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Give `optimizer` the state that was saved, each slot with type, device and strides of its parameter.

    A file keeps no strides, and torch keeps those of what it is given. Fused kernels walk the memory of parameter and
    slots side by side: beside a channels_last parameter they would mix up the moments of a contiguous slot.
    """
    optimizer.load_state_dict(saved)
    for parameter, slots in optimizer.state.items():
        for slot, value in slots.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim:
                slots[slot] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


@contextmanager
def saving(
    folder: Path | None, *, say: Callable[[str], None] = lambda line: None
) -> Iterator[Callable[[Checkpoint], None]]:
    """Yield a function that writes a checkpoint below `folder` while its caller goes on, after the one before.

    At the end of the block the last one is written. Where there is no room for one, which is said once, the one before
    stays and the next is tried again. Without a folder nobody may call it.
    """
    is_said = False
    if folder:
        removal.sweep(folder, NAME.pattern)  # what writers that were killed have left: nobody else writes here
    with ThreadPoolExecutor(1, thread_name_prefix="checkpoint") as pool:
        writing: Future | None = None

        def end(written: Future) -> None:
            nonlocal is_said
            try:
                written.result()
            except StorageError as error:
                if not is_said:
                    say(f"no checkpoint of this epoch: {error}; training goes on, a stop would lose the epochs since")
                is_said = True

        def begin(checkpoint: Checkpoint) -> None:
            nonlocal writing
            if writing:
                end(writing)
            writing = pool.submit(save, kinds.present(folder), checkpoint)

        yield begin
        if writing:
            end(writing)


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` as a folder below `folder`; then the oldest go, or before, where there is no room.

    Those of later epochs go first: they were damaged, or are of a run before.

    Raises: StorageError; then the newest one is as it was.
    """
    for path in generations(folder):
        if _epochs(path) >= len(checkpoint.records):
            shutil.rmtree(path, ignore_errors=True)
    try:
        _write(folder, checkpoint)
    except StorageError:
        prune(folder, kept=1)
        _write(folder, checkpoint)
    prune(folder, kept=GENERATIONS)


def prune(folder: Path, *, kept: int) -> None:
    """Remove all checkpoints below `folder` but the newest `kept`."""
    for old in generations(folder)[kept:]:
        shutil.rmtree(old, ignore_errors=True)


def generations(folder: Path) -> list[Path]:
    """The folders of the checkpoints below `folder`, the newest first."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in found if NAME.fullmatch(path.name) and path.is_dir()), key=_epochs, reverse=True)


def _epochs(path: Path) -> int:
    return int(path.name.removeprefix("epoch-"))


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    slots, scalars = _flatten(checkpoint.optimizer)
    with files.new_folder(folder / f"epoch-{len(checkpoint.records):04}") as scratch:
        files.write_safetensors(scratch / "model.safetensors", checkpoint.model)
        if checkpoint.averaged is not checkpoint.model:
            files.write_safetensors(scratch / "averaged.safetensors", checkpoint.averaged)
        if checkpoint.best is not checkpoint.averaged:
            files.write_safetensors(scratch / "best.safetensors", checkpoint.best)
        for number, weights in enumerate(checkpoint.snapshots):
            files.write_safetensors(scratch / f"snapshot{number}.safetensors", weights)
        files.write_safetensors(scratch / "optimizer.safetensors", slots)
        record = {"records": checkpoint.records, "optimizer": scalars, "snapshots": len(checkpoint.snapshots)}
        if "scaler" in checkpoint.optimizer:  # of a loss in fp16
            record["scaler"] = checkpoint.optimizer["scaler"]
        files.write_json(scratch / "state.json", record)
        files.write_bytes(scratch / MANIFEST, manifest_of(scratch))


def manifest_of(folder: Path) -> bytes:
    """What MANIFEST.json has to say: the hash of each other file in `folder`."""
    hashes = {file.name: files.sha256(file) for file in sorted(folder.iterdir()) if file.name != MANIFEST}
    return (json.dumps(hashes, indent=1) + "\n").encode()


def newest(folder: Path, optimizer: torch.optim.Optimizer, *, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint below `folder` that is whole, None if there is none; `say` is told of each that is damaged.

    Args: optimizer, as for `load`.
    Raises: StorageError if one cannot be read.
    """
    found = generations(folder)
    for path in found:
        try:
            return load(path, optimizer)
        except ModelFileError as error:
            say(f"{error}; it is not used")
    return None


def load(folder: Path, optimizer: torch.optim.Optimizer) -> Checkpoint:
    """Read the checkpoint in `folder`; `optimizer` lends the shape of its groups.

    Raises: ModelFileError if a file is missing or was changed; StorageError if one cannot be read.
    """
    with files.read_errors(folder):
        manifest = folder / MANIFEST
        if not manifest.is_file() or manifest.read_bytes() != manifest_of(folder):
            raise ModelFileError(f"the checkpoint {folder} is damaged")
        record = files.read_json(folder / "state.json")
        state = optimizer.state_dict()
        state["state"] = _unflatten(files.read_safetensors(folder / "optimizer.safetensors"), record["optimizer"])
        if "scaler" in record:
            state["scaler"] = record["scaler"]
        model = files.read_safetensors(folder / "model.safetensors")
        averaged, best = folder / "averaged.safetensors", folder / "best.safetensors"
        averaged = files.read_safetensors(averaged) if averaged.is_file() else model
        snapshots = [folder / f"snapshot{number}.safetensors" for number in range(record["snapshots"])]
        return Checkpoint(
            model=model,
            averaged=averaged,
            best=files.read_safetensors(best) if best.is_file() else averaged,
            optimizer=state,
            records=record["records"],
            snapshots=tuple(files.read_safetensors(path) for path in snapshots),
        )


def _flatten(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The slots of an optimiser's state as "PARAMETER.SLOT" -> value, tensors and numbers apart."""
    flat = {f"{number}.{slot}": value for number, slots in state["state"].items() for slot, value in slots.items()}
    tensors = {key: value for key, value in flat.items() if isinstance(value, Tensor)}
    return tensors, {key: value for key, value in flat.items() if key not in tensors}


def _unflatten(tensors: dict[str, Tensor], scalars: dict[str, Any]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for key, value in (tensors | scalars).items():
        number, slot = key.split(".", 1)
        state.setdefault(int(number), {})[slot] = value
    return state
