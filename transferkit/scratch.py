"""Temporary folders of ours: they go with the process, or at the next start if it was killed."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = re.compile(r"transferkit-[a-z]+-(\d+)-\w+")  # the number is the process's
COMPILER = "TORCHINDUCTOR_CACHE_DIR"  # where torch's compiler writes; without it, it leaves a folder of its own behind


@contextmanager
def folder(kind: str) -> Iterator[Path]:
    """A folder for the block, nobody else's to read; those of processes that were killed go now."""
    for old in Path(tempfile.gettempdir()).glob(f"transferkit-{kind}-*"):
        if _is_abandoned(old):
            shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"transferkit-{kind}-{os.getpid()}-", ignore_cleanup_errors=True) as made:
        yield Path(made)


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


def _is_abandoned(path: Path) -> bool:
    """Whether it is a folder of ours and its process is gone."""
    found = FOLDER.fullmatch(path.name)
    try:
        if not found or path.is_symlink() or path.stat().st_uid != os.getuid():
            return False
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, AttributeError):  # not to be looked at, or somebody else's process; Windows has no users
        return False
    return False
