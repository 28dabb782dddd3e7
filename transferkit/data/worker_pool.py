"""Batches made by processes, for devices that are faster than one interpreter can feed: it has one lock.

Photos are read and augmented in processes of their own (`worker.py`), which write views into memory shared with this
one. That memory has no name, so nothing is left of it, and it does not count as /dev/shm, of which a container has
64 MB. There is no thread: tasks wait in the connections of the workers while this process does something else.
"""

import contextlib
import math
import mmap
import os
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing import connection
from typing import Any, NamedTuple

import numpy as np
import torch

from transferkit.data.batches import Batch
from transferkit.data.listing import PathTable
from transferkit.data.photos import Photos
from transferkit.data.views import Views
from transferkit.data.worker import NOTHING, Read, Task, Work, view_bytes
from transferkit.zoo import children, stops
from transferkit.zoo.children import KILLED
from transferkit.zoo.errors import RankLostError

CHUNK = 8  # rows of a task: so few that all workers share a batch, so many that to tell of them costs little
AHEAD = 2  # batches, or tasks of each worker, whichever is more
HEADER_BYTES = 8192  # of the shared memory: the row that each worker is at, of 1,024 at most
WAITING = 16  # tasks in a connection at most; some 280 would fill it
WAIT_SECONDS = 0.2  # between two looks for a signal
GRACE_SECONDS = 2.0  # for a worker to end by itself


class _Chunk(NamedTuple):
    """Rows of a batch: its number, the place of the first of them, and the rows."""

    batch: int
    first: int
    rows: list[int]


class _Worker(NamedTuple):
    """A process, the connection to it, and the chunks that it was given, the oldest first."""

    process: subprocess.Popen
    connection: connection.Connection
    waiting: deque[_Chunk]


class WorkerPool:
    """Makes batches in as many processes as `photos` has workers; these start at once, and take a second for it.

    A context manager, at whose end the processes have ended. Without it they end with this one, however it ends.
    """

    def __init__(self, views: Views, *, photos: Photos):
        self._photos = photos
        self._size_px = views.augment.preprocessing.size_px
        self._paths: PathTable | None = None  # those that the workers know
        self._memory = _anonymous_file()
        self._bytes = HEADER_BYTES
        os.ftruncate(self._memory, self._bytes)
        self._rows_at()[:] = -1
        self._turn = 0
        self._workers = [_started(self._memory) for _ in range(photos.workers)]
        for number, worker in enumerate(self._workers):
            self._tell(worker, Work(number=number, photos=photos, views=views, size_px=self._size_px))

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            _end(worker.process)
        self._workers = []
        os.close(self._memory)

    def batches(self, paths: PathTable, rows: Sequence[np.ndarray], *, epoch: int | None) -> Iterator[Batch]:
        """Yield one batch for each array of `rows` of `paths`, of the same bits as `batches.batches` of the same views.

        The pixels are in the shared memory: they hold until the next batch is asked for.

        Raises: RankLostError, naming the file, if a worker was killed; UsageError if an augmentation fails.
        """
        largest = max(map(len, rows), default=0)
        if not largest:
            return
        self._turn += 1
        turn = self._turn
        self._drain()
        if paths is not self._paths:
            self._paths = paths
            for worker in self._workers:
                self._tell(worker, paths)
        slots = AHEAD + math.ceil(AHEAD * len(self._workers) * CHUNK / largest)
        shared = self._grown(slots * largest * view_bytes(self._size_px)).reshape(slots, largest, *self._size_px, 3)
        chunks, told = deque(_chunks(rows)), [[NOTHING] * len(batch) for batch in rows]
        left = [len(batch) for batch in rows]
        for number, batch in enumerate(rows):
            while left[number]:
                while chunks and chunks[0].batch < number + slots and self._takes_more():
                    chunk = chunks.popleft()
                    self._send(chunk, place=chunk.batch % slots * largest + chunk.first, epoch=epoch)
                for chunk, found in self._receive():
                    told[chunk.batch][chunk.first : chunk.first + len(found)] = found
                    left[chunk.batch] -= len(found)
            yield _batch(batch, shared[number % slots], told[number])
            told[number] = []
            if turn != self._turn:
                raise RuntimeError("another pass over the photos has begun, whose views have taken the place")

    def _takes_more(self) -> bool:
        """Whether a task may be sent: connections that are full both ways would have both ends wait for each other."""
        return min(len(worker.waiting) for worker in self._workers) < WAITING

    def _drain(self) -> None:
        """Wait for what is left of a pass that was broken off, and of what failed in it."""
        while any(worker.waiting for worker in self._workers):
            with contextlib.suppress(Exception):
                deque(self._receive(), maxlen=0)
            for worker in self._workers:
                if worker.process.poll() is not None:
                    raise self._lost(worker)

    def _send(self, chunk: _Chunk, *, place: int, epoch: int | None) -> None:
        """Give a chunk to the worker that has the least to do; its views go to that place of the shared memory."""
        worker = min(self._workers, key=lambda each: len(each.waiting))
        worker.waiting.append(chunk)
        start = HEADER_BYTES + place * view_bytes(self._size_px)
        self._tell(worker, Task(chunk.rows, epoch, start, self._bytes))

    def _receive(self) -> Iterator[tuple[_Chunk, list[Read]]]:
        """What workers have done by now, for which it waits a little."""
        stops.check()
        busy = [worker for worker in self._workers if worker.waiting]
        ready = connection.wait([worker.connection for worker in busy], WAIT_SECONDS)
        for worker in [worker for worker in busy if worker.connection in ready]:
            try:
                found = worker.connection.recv()
            except (EOFError, ConnectionError) as error:
                raise self._lost(worker) from error
            chunk = worker.waiting.popleft()
            if isinstance(found, BaseException):
                raise found
            yield chunk, found

    def _tell(self, worker: _Worker, what: Any) -> None:
        try:
            worker.connection.send(what)
        except ConnectionError as error:
            raise self._lost(worker) from error

    def _lost(self, worker: _Worker) -> Exception:
        """The error for a worker that is gone, with the file at which it was; a signal to end comes before it."""
        code = _end(worker.process)
        stops.check()  # the signal that ended it may be for all
        row = int(self._rows_at()[self._workers.index(worker)])
        where = f" at {self._paths[row]}" if self._paths and row >= 0 else ""
        return RankLostError(
            f"a process that reads photos was lost{where} ({'signal' if code < 0 else 'exit code'} {abs(code)}); "
            + ("the machine may be out of memory: " if code == -KILLED else "")
            + "use fewer --workers, or --workers 0 to read in this process"
        )

    def _rows_at(self) -> np.ndarray:
        """The row that each worker is at, below 0 for none; in the shared memory."""
        header = mmap.mmap(self._memory, HEADER_BYTES)
        return np.frombuffer(header, np.int64, count=self._photos.workers)

    def _grown(self, count: int) -> np.ndarray:
        """So many bytes of the shared memory, behind its header; it never gets smaller."""
        self._bytes = max(self._bytes, HEADER_BYTES + count)
        os.ftruncate(self._memory, self._bytes)
        return np.frombuffer(mmap.mmap(self._memory, self._bytes), np.uint8, count=count, offset=HEADER_BYTES)


def _chunks(rows: Sequence[np.ndarray]) -> Iterator[_Chunk]:
    for number, batch in enumerate(rows):
        for first in range(0, len(batch), CHUNK):
            yield _Chunk(number, first, batch[first : first + CHUNK].tolist())


def _batch(rows: np.ndarray, views: np.ndarray, told: list[Read]) -> Batch:
    """Shapes: rows (b,); views (b or more, H, W, 3)."""
    good = [place for place, each in enumerate(told) if not each.fault]
    pixels = views[: len(rows)] if len(good) == len(rows) else views[good]  # only where one is left out, a copy
    return Batch(
        rows=np.asarray(rows, np.int64)[good],
        pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2),
        sha256=[told[place].sha256 for place in good],
        bytes=[told[place].bytes for place in good],
        faults=[(int(row), each.fault) for row, each in zip(rows, told) if each.fault],
    )


def _started(memory: int) -> _Worker:
    """A new process with a connection to it; nobody else has this end, so it notices when this process is gone."""
    ours, theirs = socket.socketpair()
    with theirs:
        descriptors = (theirs.fileno(), memory)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        code = f"import sys; sys.path[:] = {children.search_path()!a}; "  # without the current folder
        process = subprocess.Popen(
            [sys.executable, "-c", f"{code}from transferkit.data import worker; worker.main{descriptors}"],
            env=os.environ | threads,
            stdin=subprocess.DEVNULL,
            pass_fds=descriptors,
            start_new_session=True,  # Ctrl-C is for us
        )
    return _Worker(process, connection.Connection(ours.detach()), deque())


def _end(process: subprocess.Popen) -> int:
    """The exit code of a process whose connection is closed; one that does not end by itself is killed."""
    try:
        return process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _anonymous_file() -> int:
    """A descriptor of memory without a name, or of a file without one where the system has no such memory."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("transferkit views")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
