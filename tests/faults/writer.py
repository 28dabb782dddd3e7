"""The checkpoint writer killed before each of its file operations. `python -m tests.faults.writer FOLDER STEP`: JSON.

STEP 4 looks at every fourth of them.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from transferkit.train import optim, state

EVENTS = ("open", "os.", "shutil.", "tempfile.")  # what Python tells of before it is done


def checkpoint(count: int) -> tuple[state.Checkpoint, torch.optim.Optimizer]:
    """One after `count` epochs, whose weights all are `count`."""
    network = nn.Linear(3, 2)
    nn.init.constant_(network.weight, float(count))
    optimizer = optim.make("adamw", optim.groups_of(network.parameters(), lr=0.1, l2=0.0))
    weights = state.snapshot(network)
    best = {name: tensor + 1 for name, tensor in weights.items()}
    slots = state.optimizer_snapshot(optimizer)
    held = state.Checkpoint(model=weights, averaged=weights, best=best, optimizer=slots, records=[{}] * count)
    return held, optimizer


def write(folder: Path, *, killed_before: int | None) -> int:
    """Write the third checkpoint in a fork; how it ended."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    done = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal done
        if event.startswith(EVENTS) and event != "os.kill":
            done += 1
            if done == killed_before:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    state.save(folder, checkpoint(3)[0])
    os._exit(0)


def main(root: Path, step: int) -> None:
    """Kill before operation 1, 1 + step, ... until there is none left."""
    torch.set_num_threads(1)
    found = []
    while not found or found[-1]["killed"]:
        folder = root / str(len(found))
        for count in (1, 2):
            state.save(folder, checkpoint(count)[0])
        status = write(folder, killed_before=1 + step * len(found))
        lines: list[str] = []
        held = state.newest(folder, checkpoint(1)[1], say=lines.append)
        epochs = held and len(held.records)
        is_whole = bool(held and (held.model["weight"] == epochs).all() and (held.best["weight"] == epochs + 1).all())
        with state.saving(folder) as save:  # the next start
            save(checkpoint(epochs + 1)[0])
        left = sorted(path.name for path in folder.iterdir() if not state.NAME.fullmatch(path.name))
        found.append(
            {"killed": os.WIFSIGNALED(status), "epochs": epochs, "whole": is_whole, "said": lines, "left": left}
        )
        shutil.rmtree(folder)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
