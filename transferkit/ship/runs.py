"""The folder of a run: found or made, locked while it is written, and never taken from somebody else."""

import functools
import os
import re
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from transferkit import lock, ranks
from transferkit.ship import replacement, run_files
from transferkit.ship.metrics_log import MetricsLog
from transferkit.ship.trackers import Listeners
from transferkit.zoo import files, removal, stops
from transferkit.zoo.errors import (
    RankLostError,
    RunConflictError,
    StoppedError,
    StorageError,
    TransferkitError,
    UsageError,
)


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, open for writing: what its user calls it, and the place inside it while it replaces another."""

    path: Path
    place: Path

    @property
    def checkpoints(self) -> Path:
        """Where the resume state lies."""
        return self.place / "checkpoints"

    def write_json(self, name: str, value: Any) -> None:
        """Write one of the run's JSON files."""
        files.write_json(self.place / name, value)

    @functools.cached_property
    def metrics(self) -> MetricsLog:
        """The lines of metrics.jsonl."""
        return MetricsLog(self.place / "metrics.jsonl")

    @functools.cached_property
    def listeners(self) -> Listeners:
        """The trackers that hear of the run."""
        return Listeners()

    def drop_checkpoints(self) -> None:
        """Remove the resume state: the run is complete."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def complete(self) -> None:
        """Take the place of the run that was to be replaced, if there is one. Raises: StorageError."""
        if self.place != self.path:
            replacement.complete(self.path)


def check_writable(path: Path) -> None:
    """Raise StorageError if no file could be written in the folder `path`, which need not be there yet."""
    there = next(folder for folder in (path, *path.absolute().parents) if os.path.lexists(folder))
    if there.is_dir() and not os.access(there, os.W_OK | os.X_OK):
        raise StorageError(f"cannot write {path}: {there} is read-only or belongs to somebody else; use another -o")
    if not there.is_dir() and there != path:
        raise StorageError(f"cannot write {path}: {there} is a file; use another -o")


def check_space(path: Path, needed_bytes: int) -> None:
    """Raise StorageError if the disk of the folder `path` has not that much free."""
    with files.storage_errors(path):
        disk = shutil.disk_usage(path)
    if disk.total and disk.free < needed_bytes:  # some network file systems tell nothing
        raise StorageError(
            f"{path} has {disk.free >> 20} MB free and the run needs {(needed_bytes >> 20) + 1} MB; make room, or use "
            "another -o"
        )


def default_path(data: str, *, within: str = "runs") -> Path:
    """`runs/NAME-N`: NAME after the data, N the first number not taken yet."""
    name = re.sub(r"[-_.]?\{.*\}", "", Path(data).resolve().stem) or "run"  # of photos-{000..099}.tar, photos
    number = 1
    while (path := Path(within) / f"{name}-{number}").exists():
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
        place = replacement.current(Path(self.path))
        is_finished = (place / "metrics.json").exists()
        if self.overwrite and is_finished and place == Path(self.path):
            return self
        if (place / "run.json").is_file() and run_files.read_given(place) != given:
            return self
        if (place / "checkpoints").is_dir():
            return replace(self, resume=True)
        return self if is_finished else replace(self, overwrite=True)


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

    A run that replaces another is written inside it; until it is complete, or where it fails, the old one stays.

    Raises: RunConflictError if it is a file, in use, holds something that is no run, or a run that may not be replaced;
    StorageError if it cannot be written.
    """
    with _taken(path, overwrite=overwrite, resume=resume) if ranks.is_first() else nullcontext(path) as place:
        try:
            with stops.unmasked(), ranks.losses():
                place = Path(ranks.from_first(str(place)))
                run = RunFolder(path, place)
                with run.listeners:
                    yield run
        except (KeyboardInterrupt, StoppedError, RankLostError) as error:
            if (place / "run.json").is_file() or replacement.is_complete(path):
                vars(error)["run_folder"] = path  # what --resume needs
            raise
        except TransferkitError:
            raise
        except Exception as error:
            if ranks.is_first():
                with suppress(StorageError):  # a bug is told of all the same
                    files.write_text(path / "crash.txt", traceback.format_exc())
                    vars(error)["crash_file"] = path / "crash.txt"
            raise


@contextmanager
def _taken(path: Path, *, overwrite: bool, resume: bool) -> Iterator[Path]:
    """The place in `path` where the run is to be written, locked through the block."""
    _check_ours(path)
    is_new = not path.exists()
    with files.storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    try:
        with lock.held(path / "run.lock", of=path):
            place = _prepared(path, overwrite=overwrite, resume=resume)
            try:
                yield place
            finally:
                if place != path and place.is_dir() and not (place / "run.json").exists():  # nothing to go on with
                    shutil.rmtree(place, ignore_errors=True)
    finally:
        if is_new:
            with suppress(OSError):  # there is something in it, as there should be
                path.rmdir()


def _prepared(path: Path, *, overwrite: bool, resume: bool) -> Path:
    """The place for the run, once what was left behind by killed ones is gone or complete."""
    replacement.take_over(path)
    with files.storage_errors(path):
        replacement.sweep(path)
        if resume:
            removal.remove(path / "crash.txt")
            return replacement.current(path)
        if any((path / name).exists() for name in replacement.PARTS if name != "crash.txt"):
            if overwrite:
                return replacement.begin(path)
            raise RunConflictError(
                f"{path} already holds a run; name another folder with -o, or add --overwrite or --resume"
            )
        removal.remove(path / "crash.txt")
    return path


def _check_ours(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise RunConflictError(f"{path} is a file; name a folder for the run with -o")
    with files.storage_errors(path):
        if not path.is_dir() or not any(path.iterdir()):
            return
    if not any((path / name).exists() for name in ("run.json", "run.lock", "crash.txt", replacement.FOLDER)):
        raise RunConflictError(f"{path} is not empty and holds no run; name another folder with -o")
