"""The folder of a run: found or made, locked while it is written, and never taken from somebody else."""

import json
import os
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.zoo import files
from transferkit.zoo.errors import RunConflictError, StoppedError, TransferkitError

PARTS = (
    "run.json",
    "manifest.csv",
    "quarantine.csv",
    "metrics.jsonl",
    "metrics.json",
    "predictions.csv",
    "report.html",
    "curves.png",
    "crash.txt",
)
FOLDERS = ("checkpoints", "model")


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, open for writing."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """Where the resume state lies."""
        return self.path / "checkpoints" / "last"

    def write_json(self, name: str, value: Any) -> None:
        """Write one of the run's JSON files."""
        files.write_json(self.path / name, value)

    def start_metrics(self) -> None:
        """Begin metrics.jsonl anew."""
        files.write_text(self.path / "metrics.jsonl", "")

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        with files.storage_errors(self.path / "metrics.jsonl"), open(self.path / "metrics.jsonl", "a") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")

    def drop_checkpoints(self) -> None:
        """Remove the resume state: the run is complete."""
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)


def default_path(data: str) -> Path:
    """`runs/NAME-N`: NAME after the data, N the first number not taken yet."""
    name = Path(data).resolve().stem or "run"
    number = 1
    while (path := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return path


@contextmanager
def open_run(path: Path, *, overwrite: bool, resume: bool) -> Iterator[RunFolder]:
    """Make or take the folder `path` and hold its lock through the block.

    Raises: RunConflictError if it is a file, in use, holds something that is no run, or a run that may not be replaced;
    StorageError if it cannot be written.
    """
    _check_free(path, may_exist=overwrite or resume)
    with files.storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    with _lock(path):
        if overwrite and not resume:
            with files.storage_errors(path):
                _clear(path)
        try:
            yield RunFolder(path)
        except (KeyboardInterrupt, StoppedError) as error:
            error.run_folder = path  # what --resume needs
            raise
        except TransferkitError:
            raise
        except Exception as error:
            error.crash_file = path / "crash.txt"
            files.write_text(error.crash_file, traceback.format_exc())
            raise


def _check_free(path: Path, *, may_exist: bool) -> None:
    if path.exists() and not path.is_dir():
        raise RunConflictError(f"{path} is a file; name a folder for the run with -o")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not any((path / name).exists() for name in ("run.json", "run.lock")):
        raise RunConflictError(f"{path} is not empty and holds no run; name another folder with -o")
    if not may_exist:
        raise RunConflictError(
            f"{path} already holds a run; name another folder with -o, or add --overwrite or --resume"
        )


def _clear(path: Path) -> None:
    for name in PARTS:
        (path / name).unlink(missing_ok=True)
    for name in FOLDERS:
        shutil.rmtree(path / name, ignore_errors=True)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock that dies with the process, where the system has one (Windows: no lock)."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path / "run.lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RunConflictError(
                f"{path} is in use by process {file.read() or '?'}; wait for it or use another -o"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            (path / "run.lock").unlink(missing_ok=True)
