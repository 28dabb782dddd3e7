"""A lock that one process holds at a time and that dies with it."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from transferkit.zoo import children
from transferkit.zoo.errors import RunConflictError
from transferkit.zoo.files import storage_errors

PATIENCE_SECONDS = 1.0  # for a holder that is just coming, and has not written its number yet, or just leaving
UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


@contextmanager
def held(path: Path, *, of: Path) -> Iterator[None]:
    """Hold the lock file `path` through the block and remove it after; `of`, what it guards, is for the message.

    Two threads of a process exclude each other too. Windows and some network file systems know no such lock: there the
    block runs without one.

    Raises: RunConflictError with the number of the process that holds it; StorageError if the file cannot be written.
    """
    try:
        import fcntl  # noqa: F401  asked for here alone
    except ImportError:
        yield
        return
    file = _taken(path, of=of)
    try:
        yield
    finally:
        _release(file, path)


def _release(file: IO[bytes], path: Path) -> None:
    with suppress(OSError):
        path.unlink()  # while it is held: whoever opened it before will see that it is another file
    file.close()


def _taken(path: Path, *, of: Path) -> IO[bytes]:
    """The lock file, open and locked by us alone, with our process's number in it."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        with storage_errors(path):
            file = open(path, "a+b", buffering=0)  # noqa: SIM115  open for as long as the lock is held
            if _lock(file, path):
                try:
                    file.truncate(0)
                    file.write(str(os.getpid()).encode())
                except BaseException:
                    _release(file, path)
                    raise
                return file
        file.seek(0)
        holder = file.read().decode(errors="replace")
        file.close()
        if time.monotonic() > until or (holder.isdecimal() and children.is_alive(int(holder))):
            raise RunConflictError(f"{of} is in use by process {holder or '?'}; wait for it or use another -o")
        time.sleep(0.02)


def _lock(file: IO[bytes], path: Path) -> bool:
    """Whether `file` is locked by us and still what stands at `path`: its last holder may have removed it meanwhile."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
