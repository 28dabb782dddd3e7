"""A file put where nothing is, by copy, link or move: whatever stops it, its content is under one of the two names."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from transferkit.zoo.files import storage_errors

OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}  # errors that the next file would meet, too


def scratch_of(into: Path) -> Path:
    """Where a file below `into` is copied to, before it gets its name."""
    return into / f".copying.{os.getpid()}.tmp"


def copy(source: Path, target: Path, scratch: Path) -> None:
    """Copy content, times and rights; `target` is whole or not there. Raises: FileExistsError, OSError."""
    _copy(source, target, scratch, is_flushed=False)


def hardlink(source: Path, target: Path, scratch: Path) -> None:
    """Give the file a second name. Raises: FileExistsError, OSError."""
    os.link(source.resolve(), target)


def move(source: Path, target: Path, scratch: Path) -> None:
    """Give the file another name; on another disk it is copied, and removed once the copy is on that disk.

    Raises: FileExistsError, OSError; then it is where it was.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # another disk, or one without links
        _copy(source, target, scratch, is_flushed=True)
    try:
        source.unlink()
    except OSError:
        target.unlink()
        raise


HOW: dict[str, Callable[[Path, Path, Path], None]] = {"copy": copy, "hardlink": hardlink, "move": move}


def names(target: Path) -> Iterator[Path]:
    """The name itself, then NAME-2, NAME-3 and so on."""
    yield target
    yield from (target.with_name(f"{target.stem}-{number}{target.suffix}") for number in count(2))


def make_folder(folder: Path) -> None:
    """The folder, and those it lies in. Raises: StorageError."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _copy(source: Path, target: Path, scratch: Path, *, is_flushed: bool) -> None:
    try:
        shutil.copyfile(source, scratch)
        shutil.copystat(source, scratch)
        if is_flushed:
            with open(scratch, "rb+") as file:
                os.fsync(file.fileno())
        _name(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)


def _name(scratch: Path, target: Path) -> None:
    """Give a complete copy its name, which nothing may have."""
    try:
        os.link(scratch, target)
    except FileExistsError:
        raise
    except OSError:  # a disk without links: the name is taken first, then what stands there is ours
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(scratch, target)
