"""The hashes of files seen before, so that a file that was not touched since need not be read to know its content.

Source: git's index and its rule for files changed as they are recorded,
https://git-scm.com/docs/racy-git
"""

import contextlib
import os
import sqlite3
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from transferkit.data import source

MARGIN_NS = 3_000_000_000  # the coarsest clock of a file system, FAT's, ticks every 2 seconds
MAX_BYTES = 256 << 20  # about two million files; a larger index is begun anew
BUSY_SECONDS = 10
ELSEWHERE = ("locked", "full", "unable to open", "disk I/O", "memory")  # errors that are no damage
TOGETHER = 500  # names in one question; SQLite allows 999
TABLE = """CREATE TABLE IF NOT EXISTS known (file TEXT PRIMARY KEY, state TEXT NOT NULL, sha256 TEXT NOT NULL)
           WITHOUT ROWID"""

T = TypeVar("T")


class Content(NamedTuple):
    """What a file holds."""

    sha256: str
    bytes: int


class Identity(NamedTuple):
    """Which file it is, and what changes when it is written to."""

    file: str
    state: str


def identity(path: Path | str) -> Identity | None:
    """The identity of a file; None if it is gone, or was changed so lately that a change now might not show in it.

    One that is the same before and after a file is read belongs to what was read.
    """
    now_ns = time.time_ns()
    found = source.status(path)
    if found is None or found.changed_ns > now_ns - MARGIN_NS:
        return None
    return Identity(found.file, found.state)


class Known:
    """An index of files, kept in an SQLite file; safe for several processes and threads.

    Nothing depends on it but time: one that cannot be read or written knows nothing from then on, a damaged one is
    begun anew.
    """

    def __init__(self, path: Path):
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._is_usable = True

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which has a connection of its own."""
        return self.__dict__ | {"_lock": None, "_connection": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_lock": threading.Lock()}

    def contents(self, paths: Sequence[Path | str]) -> list[Content | None]:
        """The content of each file, None where it is not known; opens none of them."""
        statuses = [source.status(path) for path in paths]
        rows = self._rows([each.file for each in statuses if each])
        found = [rows.get(each.file, ("", "")) if each else ("", "") for each in statuses]
        return [
            Content(sha256, each.bytes) if each and state == each.state else None
            for each, (state, sha256) in zip(statuses, found)
        ]

    def add(self, found: Iterable[tuple[Identity, str]]) -> None:
        """Remember the SHA-256 of files, each read while its `identity` was this; all of them or none."""
        rows = [(*each, f"{sha256} {_check(*each, sha256)}") for each, sha256 in found]

        def insert(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?)", rows)

        self._use(insert, otherwise=None)

    def _rows(self, files: list[str]) -> dict[str, tuple[str, str]]:
        """File to (state, sha256) of those that are known."""

        def select(connection: sqlite3.Connection) -> dict[str, tuple[str, str]]:
            rows = {}
            for start in range(0, len(files), TOGETHER):
                some = files[start : start + TOGETHER]
                query = f"SELECT file, state, sha256 FROM known WHERE file IN ({','.join('?' * len(some))})"
                for file, state, checked in connection.execute(query, some):
                    sha256, _, check = str(checked).partition(" ")
                    if check == _check(file, state, sha256):
                        rows[file] = (state, sha256)
            return rows

        return self._use(select, otherwise={})

    def _use(self, work: Callable[[sqlite3.Connection], T], *, otherwise: T) -> T:
        """What `work` makes of the connection, for one thread at a time; `otherwise` where the index is of no use."""
        with self._lock:
            if not self._is_usable:
                return otherwise
            try:
                return work(self._connect())
            except OSError:  # no permission
                self._is_usable = False
            except sqlite3.Error as error:
                if self._is_elsewhere(str(error)):
                    self._is_usable = False
                else:  # whatever else may happen is damage
                    self._begin_anew()
            return otherwise

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.is_file() and self._path.stat().st_size > MAX_BYTES:
                self._begin_anew()
            connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, check_same_thread=False)
            weakref.finalize(self, connection.close)
            connection.execute(TABLE)
            self._connection = connection
        return self._connection

    def _is_elsewhere(self, error: str) -> bool:
        """Whether the fault is not in the file: one that says it is for reading alone, and is not, is damaged."""
        is_readonly = "readonly" in error and not os.access(self._path, os.W_OK)
        return is_readonly or any(word in error for word in ELSEWHERE)

    def _begin_anew(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for path in (self._path, self._path.with_name(f"{self._path.name}-journal")):
            with contextlib.suppress(OSError):
                path.unlink()


def _check(file: str, state: str, sha256: str) -> str:
    return f"{zlib.crc32(f'{file} {state} {sha256}'.encode()):08x}"
