"""Batches made by processes, for devices that are faster than one interpreter can feed: it has one lock.

Photos are read and augmented in processes of their own (`worker.py`), which write views into memory shared with this
one. Small photos stay decoded in it, for all of them; large ones are in the store. There is no thread: requests wait in
the connections of the workers while this process does something else.
"""

import contextlib
import math
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing import connection
from typing import Any, NamedTuple

import numpy as np
import torch

from transferkit import kinds
from transferkit.data.batches import Batch
from transferkit.data.listing import PathTable
from transferkit.data.photos import Photos
from transferkit.data.shared_memory import Place, SharedMemory
from transferkit.data.views import Views
from transferkit.data.worker import Found, Reply, Request, Setup, view_bytes
from transferkit.zoo import children, stops
from transferkit.zoo.children import KILLED
from transferkit.zoo.errors import RankLostError

CHUNK = 8  # rows of a request: so few that all workers share a batch, so many that to tell of them costs little
AHEAD = 2  # batches, or requests of each worker, whichever is more
HEADER_BYTES = 8192  # of the shared memory: the row that each worker is at, of 1,024 at most
WAITING = 16  # requests in a connection at most; some 280 would fill it
PENDING = Found()  # is known of a row as yet
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

    Args: kept_bytes, of pixels that stay in the memory of all, of photos that are not in the store: the first of them.
    """

    def __init__(self, views: Views, *, photos: Photos, kept_bytes: int = 0):
        self._photos = photos
        self._size_px = views.augment.preprocessing.size_px
        self._paths: PathTable | None = None  # those that the workers know
        self._kept: dict[int, Found] = {}  # rows of them whose photo lies in the memory
        self._memory = SharedMemory.created()
        shelf = kept_bytes // max(1, photos.workers)
        self._views_at = HEADER_BYTES + photos.workers * shelf
        self._memory.grow(self._views_at)
        self._rows_at = self._memory.array(0, (photos.workers,), np.int64)  # the row that each worker is at
        self._rows_at[:] = -1
        self._turn = 0
        self._workers = [_started(self._memory.descriptor) for _ in range(photos.workers)]
        about = {"photos": photos, "views": views, "size_px": self._size_px}
        for number, worker in enumerate(self._workers):
            start = HEADER_BYTES + number * shelf
            self._tell(worker, Setup(number=number, shelf=(start, start + shelf), **about))

    def show(self, views: Views) -> None:
        """Make these views from the next pass on, of the same size."""
        for worker in self._workers:
            self._tell(worker, views)

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            _end(worker.process)
        self._workers = []
        self._memory.close()

    def batches(
        self, paths: PathTable, rows: Sequence[np.ndarray], *, epoch: int | None, is_seen: bool = True
    ) -> Iterator[Batch]:
        """Yield one batch for each array of `rows` of `paths`, of the same bits as `batches.batches` of the same views.

        The pixels are in the shared memory: they hold until the next batch is asked for. Photos that are not `is_seen`
        are only read: pixels are (b, 3, 0, 0).

        Raises: RankLostError, naming the file, if a worker was killed; UsageError if an augmentation fails.
        """
        largest = max(map(len, rows), default=0)
        if not largest:
            return
        self._turn += 1
        turn = self._turn
        self._drain()
        self._know(paths)
        slots = AHEAD + math.ceil(AHEAD * len(self._workers) * CHUNK / largest)
        size_px = self._size_px if is_seen else (0, 0)
        self._memory.grow(self._views_at + slots * largest * view_bytes(size_px))
        shared = self._memory.array(self._views_at, (slots, largest, *size_px, 3))
        chunks, found = deque(_chunks(rows)), [[PENDING] * len(batch) for batch in rows]
        left = [len(batch) for batch in rows]
        for number, batch in enumerate(rows):
            while left[number]:
                while chunks and chunks[0].batch < number + slots and self._takes_more():
                    chunk = chunks.popleft()
                    place = chunk.batch % slots * largest + chunk.first
                    at = self._views_at + place * view_bytes(size_px)
                    self._send(chunk, epoch=epoch, views_at=at if is_seen else None)
                for chunk, some in self._receive():
                    found[chunk.batch][chunk.first : chunk.first + len(some)] = some
                    left[chunk.batch] -= len(some)
            yield _batch(batch, shared[number % slots], found[number])
            found[number] = []
            if turn != self._turn:
                raise RuntimeError("another pass over the photos has begun, whose views have taken the place")
        self._photos.remember()

    def _know(self, paths: PathTable) -> None:
        """Tell the workers of other paths than before; the photos of those that stay lie where they are."""
        if paths is self._paths:
            return
        kept = {kinds.present(self._paths)[row]: found for row, found in self._kept.items()}
        self._kept = {row: kept[path] for row, path in enumerate(paths) if path in kept} if kept else {}
        self._paths = paths
        for worker in self._workers:
            self._tell(worker, paths)

    def _takes_more(self) -> bool:
        """Whether a request may be sent: full connections would have both ends wait for each other."""
        return min(len(worker.waiting) for worker in self._workers) < WAITING

    def _drain(self) -> None:
        """Wait for what is left of a pass that was broken off, and of what failed in it."""
        while any(worker.waiting for worker in self._workers):
            with contextlib.suppress(Exception):
                deque(self._receive(), maxlen=0)
            for worker in self._workers:
                if worker.process.poll() is not None:
                    raise self._lost(worker)

    def _send(self, chunk: _Chunk, *, epoch: int | None, views_at: int | None) -> None:
        """Give a chunk to the worker that has the least to do."""
        worker = min(self._workers, key=lambda each: len(each.waiting))
        worker.waiting.append(chunk)
        self._tell(worker, Request(chunk.rows, [self._place(row) for row in chunk.rows], epoch, views_at))

    def _place(self, row: int) -> Place | None:
        found = self._kept.get(row)
        return found and found.place

    def _receive(self) -> Iterator[tuple[_Chunk, list[Found]]]:
        """What workers have done by now, for which it waits a little."""
        stops.check()
        busy = [worker for worker in self._workers if worker.waiting]
        ready = connection.wait([worker.connection for worker in busy], WAIT_SECONDS)
        for worker in [worker for worker in busy if worker.connection in ready]:
            try:
                answer: Reply | BaseException = worker.connection.recv()
            except (EOFError, ConnectionError) as error:
                raise self._lost(worker) from error
            chunk = worker.waiting.popleft()
            if isinstance(answer, BaseException):
                raise answer
            self._photos.learn(answer.news)
            self._kept |= {row: found for row, found in zip(chunk.rows, answer.found) if found and found.place}
            yield chunk, [found or self._kept[row] for row, found in zip(chunk.rows, answer.found)]

    def _tell(self, worker: _Worker, what: Any) -> None:
        try:
            worker.connection.send(what)
        except ConnectionError as error:
            raise self._lost(worker) from error

    def _lost(self, worker: _Worker) -> Exception:
        """The error for a worker that is gone, with the file at which it was; a signal to end comes before it."""
        code = _end(worker.process)
        stops.check()  # the signal that ended it may be for all
        row = int(self._rows_at[self._workers.index(worker)])
        where = f" at {self._paths[row]}" if self._paths and row >= 0 else ""
        return RankLostError(
            f"a process that reads photos was lost{where} ({'signal' if code < 0 else 'exit code'} {abs(code)}); "
            + ("the machine may be out of memory: " if code == -KILLED else "")
            + "use fewer --workers, or --workers 0 to read in this process"
        )


def _chunks(rows: Sequence[np.ndarray]) -> Iterator[_Chunk]:
    for number, batch in enumerate(rows):
        for first in range(0, len(batch), CHUNK):
            yield _Chunk(number, first, batch[first : first + CHUNK].tolist())


def _batch(rows: np.ndarray, views: np.ndarray, found: list[Found]) -> Batch:
    """Shapes: rows (b,); views (b or more, H, W, 3)."""
    good = [place for place, each in enumerate(found) if not each.fault]
    pixels = views[: len(rows)] if len(good) == len(rows) else views[good]  # only where one is left out, a copy
    return Batch(
        rows=np.asarray(rows, np.int64)[good],
        pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2),
        sha256=[found[place].sha256 for place in good],
        bytes=[found[place].bytes for place in good],
        faults=[(int(row), each.fault) for row, each in zip(rows, found) if each.fault],
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
