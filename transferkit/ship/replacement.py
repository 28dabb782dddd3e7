"""A run that takes the place of another: written inside its folder, and moved over once it is complete.

Until then the old run is whole. The move is a rename for each part, and can be taken up again wherever it was killed: a
file written before it says which parts the new run has.
"""

import os
import re
from pathlib import Path

from transferkit.zoo import files, removal
from transferkit.zoo.errors import ModelFileError
from transferkit.zoo.removal import remove

FILES = (
    "run.json",
    "manifest.csv",
    "quarantine.csv",
    "metrics.jsonl",
    "metrics.json",
    "predictions.csv",
    "heat_maps.json",
    "unseen.safetensors",
    "report.html",
    "curves.png",
    "crash.txt",
)
TENSORBOARD = "tensorboard"  # the folder of its event files
PARTS = ("model", *FILES, "checkpoints", TENSORBOARD)  # all that a run holds of ours, in the order in which they move
FOLDER = ".replacement"
COMPLETE = "complete.json"


def begin(run: Path) -> Path:
    """A new empty folder for the run that is to replace the one in `run`."""
    with files.storage_errors(run):
        remove(run / FOLDER)
        (run / FOLDER).mkdir()
    return run / FOLDER


def current(run: Path) -> Path:
    """Where the run lies that `--resume -o RUN` goes on with: one that was to replace another comes first."""
    return run / FOLDER if (run / FOLDER / "run.json").is_file() else run


def is_complete(run: Path) -> bool:
    """Whether the move has begun, or could."""
    return (run / FOLDER / COMPLETE).is_file()


def complete(run: Path) -> None:
    """Put the finished run inside `run` in the place of the old one.

    Raises: StorageError; then one of the two is whole, and the next start goes on from there.
    """
    inner = run / FOLDER
    files.write_json(inner / COMPLETE, {"parts": [name for name in PARTS if (inner / name).exists()]})
    take_over(run)


def take_over(run: Path) -> None:
    """Move what is complete; nothing if there is no such thing. Raises: StorageError, ModelFileError."""
    if not is_complete(run):
        return
    inner = run / FOLDER
    record = files.read_json(inner / COMPLETE)
    if not isinstance(record, dict) or not isinstance(record.get("parts"), list):
        raise ModelFileError(f"{inner / COMPLETE} is damaged; move what is in {inner} to {run} by hand, or remove it")
    with files.storage_errors(run):
        for name in PARTS:
            if name not in record["parts"]:
                remove(run / name)
            elif os.path.lexists(inner / name):  # else it was moved before
                if (run / name).is_dir():
                    remove(inner / f"old {name}")
                    os.replace(run / name, inner / f"old {name}")
                os.replace(inner / name, run / name)
        files.sync_folder(run)
        remove(inner)


def sweep(run: Path) -> None:
    """Remove what killed runs left in a run's folder: temporary files, and a replacement that had not begun.

    Nobody else may write there; only names that our own writer makes are touched.
    """
    if current(run) == run:
        remove(run / FOLDER)
    for folder in (run, run / FOLDER):
        removal.sweep(folder, "|".join(map(re.escape, (*PARTS, COMPLETE))))
