"""What a stopped run needs to go on: safetensors and JSON, one folder a checkpoint, complete or not there at all."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.zoo import files
from transferkit.zoo.errors import ModelFileError

State = dict[str, Tensor]  # of a network, by the names of its parameters and buffers


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Network, its running average and optimiser after some epochs, the best weights so far, and what was recorded.

    `best` that is `averaged`, the same object, is written once. `snapshots` are the weights at the ends of the cycles
    so far, where there are cycles.
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


@contextmanager
def saving(folder: Path | None) -> Iterator[Callable[[Checkpoint], None]]:
    """Yield a function that writes a checkpoint as `folder` while its caller goes on, once the one before is written.

    At the end of the block the last one is. Without a folder nobody may call it.

    Raises: StorageError, at the next call or at the end.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="checkpoint") as pool:
        writing: Future | None = None

        def begin(checkpoint: Checkpoint) -> None:
            nonlocal writing
            if writing:
                writing.result()
            writing = pool.submit(save, folder, checkpoint)

        yield begin
        if writing:
            writing.result()


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` as `folder`, replacing the one before only when the new one is complete.

    Raises: StorageError.
    """
    slots, scalars = _flatten(checkpoint.optimizer)
    with files.new_folder(folder) as scratch:
        files.write_safetensors(scratch / "model.safetensors", checkpoint.model)
        files.write_safetensors(scratch / "averaged.safetensors", checkpoint.averaged)
        if checkpoint.best is not checkpoint.averaged:
            files.write_safetensors(scratch / "best.safetensors", checkpoint.best)
        for number, weights in enumerate(checkpoint.snapshots):
            files.write_safetensors(scratch / f"snapshot{number}.safetensors", weights)
        files.write_safetensors(scratch / "optimizer.safetensors", slots)
        hashes = {file.name: files.sha256(file) for file in sorted(scratch.iterdir())}
        files.write_json(
            scratch / "state.json",
            {
                "records": checkpoint.records,
                "optimizer": scalars,
                "snapshots": len(checkpoint.snapshots),
                "sha256": hashes,
            },
        )


def load(folder: Path, optimizer: torch.optim.Optimizer) -> Checkpoint:
    """Read the checkpoint in `folder`; `optimizer` lends the shape of its groups.

    Raises: ModelFileError if a file is missing or was changed.
    """
    record = files.read_json(folder / "state.json")
    for name, digest in record["sha256"].items():
        if not (folder / name).is_file() or files.sha256(folder / name) != digest:
            raise ModelFileError(f"{folder / name} is missing or damaged; start again with --overwrite")
    state = optimizer.state_dict()
    state["state"] = _unflatten(files.read_safetensors(folder / "optimizer.safetensors"), record["optimizer"])
    averaged = files.read_safetensors(folder / "averaged.safetensors")
    best_is_apart = "best.safetensors" in record["sha256"]
    return Checkpoint(
        model=files.read_safetensors(folder / "model.safetensors"),
        averaged=averaged,
        best=files.read_safetensors(folder / "best.safetensors") if best_is_apart else averaged,
        optimizer=state,
        records=record["records"],
        snapshots=tuple(
            files.read_safetensors(folder / f"snapshot{number}.safetensors") for number in range(record["snapshots"])
        ),
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
