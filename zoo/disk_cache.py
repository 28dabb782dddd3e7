"""What is kept of one kind in the cache folder: how a file of it is written and read, and which go when there are many.

A new kind is a line in `cache_folder.KINDS`, and whoever knows what its key is made of and how a value is written.
"""

import functools
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from transferkit.zoo import cache_folder, files
from transferkit.zoo.errors import ModelFileError, StorageError, UsageError

T = TypeVar("T")


class Entry(NamedTuple):
    """A file of ours in the cache."""

    used: float  # seconds since the epoch
    place: str  # what goes at once: the file, or the folder that it is in
    path: str
    bytes: int


class DiskCache:
    """One kind of `cache_folder.KINDS` in the cache at `root`; whatever happens to it costs time and nothing else.

    A file is written whole or not at all; one that is damaged counts as not there. Those not used for longest go first
    when all of the kind take more than its limit.
    """

    def __init__(self, root: Path, kind: str):
        self.folder, self.kind = root / kind, cache_folder.KINDS[kind]

    def read(self, path: Path, reader: Callable[[Path], T | None]) -> T | None:
        """What `reader` makes of a file; None if it is not there, cannot be read or is not as it was written."""
        with suppress(UsageError, ModelFileError, StorageError, OSError, KeyError, ValueError, RuntimeError):
            return reader(path)
        return None

    def write(self, path: Path, writer: Callable[..., None], *content: Any) -> bool:
        """Whether `writer(path, *content)` could write a file, for which others may have gone; if not, nothing is lost.

        Args: writer, which writes it whole or not at all.
        """
        cache_folder.mark(self.folder.parent)
        with suppress(StorageError, OSError):
            writer(path, *content)
            if self.kind.limit_bytes < cache_folder.NO_LIMIT:
                with suppress(OSError):
                    self.make_room()
            return True
        return False

    def use(self, path: Path) -> None:
        """Note that a file, or a folder of them, is used now."""
        with suppress(OSError):
            os.utime(path)

    def entries(self) -> list[Entry]:
        """The files of the kind, those not used for longest first; no link, and nothing behind one."""
        found, used = [], functools.cache(lambda folder: os.lstat(folder).st_mtime)
        for path in (path for path, is_ours in cache_folder.walked(self.folder.parent, self.folder.name) if is_ours):
            with suppress(OSError):  # removed meanwhile
                status, folder = os.lstat(path), os.path.dirname(path)
                if stat.S_ISREG(status.st_mode):
                    goes = (used(folder), folder) if self.kind.in_folders else (status.st_mtime, path)
                    found.append(Entry(*goes, path, status.st_size))
        return sorted(found)

    def make_room(self, size: int = 0, *, since: float = float("inf")) -> int:
        """Remove old entries if `size` more bytes exceed the limit; how many may be written before the next look.

        Args: since, when an entry must have been used to stay whatever comes. Raises: OSError.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        entries = self.entries()
        total = sum(entry.bytes for entry in entries)
        limit = min(self.kind.limit_bytes, (shutil.disk_usage(self.folder).free + total) // self.kind.disk_parts)
        goal = self.kind.trimmed * limit - size if total + size > limit else total
        for (used, place), some in groupby(entries, lambda entry: entry[:2]):
            if total <= goal or used >= since:
                break
            for entry in some:
                total -= entry.bytes
                with suppress(OSError):  # another process was faster
                    os.unlink(entry.path)
            if self.kind.in_folders:
                with suppress(OSError):  # something else is in it
                    os.rmdir(place)
        return min(limit - total, max(limit // 20, size))

    def clear(self) -> None:
        """Remove the files of the kind, and the folders that are empty then. Raises: StorageError."""
        with files.storage_errors(self.folder):
            for entry in self.entries():
                path = Path(entry.path)
                path.unlink(missing_ok=True)
                for parent in path.parents:
                    with suppress(OSError):  # something else is in it
                        parent.rmdir()
                    if parent == self.folder:
                        break
