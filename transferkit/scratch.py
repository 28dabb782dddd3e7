"""Temporary folders of ours: they go with the process, or at the next start if it was killed."""

import hashlib
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from transferkit.zoo import children
from transferkit.zoo.files import storage_errors

FOLDER = re.compile(r"transferkit-[a-z]+-([0-9a-f]{8})-(\d+)-\w+")  # of which machine, and of which process
COMPILER = "TORCHINDUCTOR_CACHE_DIR"  # where torch's compiler writes; without it, it leaves a folder of its own behind


@contextmanager
def folder(kind: str) -> Iterator[Path]:
    """A folder for the block, nobody else's to read; those of processes that were killed go now.

    Raises: StorageError if there is no place for it.
    """
    for old in Path(tempfile.gettempdir()).glob(f"transferkit-{kind}-*"):
        if _is_abandoned(old):
            shutil.rmtree(old, ignore_errors=True)
    prefix = f"transferkit-{kind}-{_machine()}-{os.getpid()}-"
    with storage_errors(Path(tempfile.gettempdir())):
        made = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
    with made:
        yield Path(made.name)


@contextmanager
def compiler() -> Iterator[None]:
    """What torch's compiler writes in the block goes with it, unless the user has named a place for it."""
    if COMPILER in os.environ:
        yield
        return
    with folder("compiler") as made:
        os.environ[COMPILER] = str(made)
        try:
            yield
        finally:
            del os.environ[COMPILER]


def _machine() -> str:
    """What tells this machine from others that may share its folder for temporary files."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_abandoned(path: Path) -> bool:
    """Whether it is a folder of ours on this machine and its process is gone."""
    found = FOLDER.fullmatch(path.name)
    if os.name != "posix" or not found or found[1] != _machine() or path.is_symlink():
        return False
    with suppress(OSError):
        return path.stat().st_uid == os.getuid() and not children.is_alive(int(found[2]))
    return False
