"""The folder of a run: found or made, locked while it is written, and never taken from somebody else."""

import json
import re
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from transferkit import lock, ranks
from transferkit.zoo import files
from transferkit.zoo.errors import RankLostError, RunConflictError, StoppedError, TransferkitError, UsageError

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
    name = re.sub(r"[-_.]?\{.*\}", "", Path(data).resolve().stem) or "run"  # of photos-{000..099}.tar, photos
    number = 1
    while (path := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return path


@dataclass(frozen=True, kw_only=True)
class Opening:
    """Which folder a run takes, and whether it replaces or goes on with what is there."""

    path: str
    overwrite: bool
    resume: bool

    def restarted(self, given: dict[str, Any]) -> "Opening":
        """The same after `torchrun` has started the run again: on from its checkpoint, or anew where there is none.

        A run that began with other options than `given`, or is finished, is somebody else's.
        """
        path = Path(self.path)
        record = path / "run.json"
        if record.is_file() and files.read_json(record)["given"] != given:
            return self
        if RunFolder(path).checkpoint.is_dir():
            return replace(self, resume=True)
        return self if (path / "metrics.json").exists() else replace(self, overwrite=True)


def opening(out: str | None, data: str, *, given: dict[str, Any], overwrite: bool, resume: bool) -> Opening:
    """How the run of `data` takes its folder, the same for all ranks.

    Args: given, the options before defaults were filled in.
    Raises: UsageError if a restart could not find the folder again.
    """
    if out is None and ranks.may_restart():
        raise UsageError("name the run's folder with -o: after a restart it must be found again")
    wanted = Opening(path=out or str(default_path(data)), overwrite=overwrite, resume=resume)
    if ranks.was_restarted() and not resume:
        wanted = wanted.restarted(given)
    return Opening(**ranks.from_first(asdict(wanted)))


@contextmanager
def open_run(path: Path, *, overwrite: bool, resume: bool) -> Iterator[RunFolder]:
    """Make or take the folder `path` and hold its lock through the block; the first rank does, the others do not write.

    Raises: RunConflictError if it is a file, in use, holds something that is no run, or a run that may not be replaced;
    StorageError if it cannot be written.
    """
    with _taken(path, overwrite=overwrite, resume=resume) if ranks.is_first() else nullcontext():
        try:
            with ranks.losses():
                yield RunFolder(path)
        except (KeyboardInterrupt, StoppedError, RankLostError) as error:
            error.run_folder = path  # what --resume needs
            raise
        except TransferkitError:
            raise
        except Exception as error:
            if ranks.is_first():
                error.crash_file = path / "crash.txt"
                files.write_text(error.crash_file, traceback.format_exc())
            raise


@contextmanager
def _taken(path: Path, *, overwrite: bool, resume: bool) -> Iterator[None]:
    _check_ours(path)
    with files.storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    with lock.held(path / "run.lock", of=path):
        if not (overwrite or resume) and any((path / name).exists() for name in (*PARTS, *FOLDERS)):
            raise RunConflictError(
                f"{path} already holds a run; name another folder with -o, or add --overwrite or --resume"
            )
        if overwrite and not resume:
            with files.storage_errors(path):
                _clear(path)
        yield


def _check_ours(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise RunConflictError(f"{path} is a file; name a folder for the run with -o")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not any((path / name).exists() for name in ("run.json", "run.lock")):
        raise RunConflictError(f"{path} is not empty and holds no run; name another folder with -o")


def _clear(path: Path) -> None:
    for name in PARTS:
        (path / name).unlink(missing_ok=True)
    for name in FOLDERS:
        shutil.rmtree(path / name, ignore_errors=True)
