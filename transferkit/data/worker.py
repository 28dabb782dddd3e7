"""A process that reads photos and writes views of them into memory that it shares with the one that started it.

It imports no torch: that takes seconds, and a gigabyte where a GPU is. It ends when the connection does, whatever
became of the other end.
"""

import mmap
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np

from transferkit.data.decode import DecodeError
from transferkit.data.listing import PathTable
from transferkit.data.photos import Photos
from transferkit.data.views import Views
from transferkit.zoo.errors import TransferkitError


@dataclass(frozen=True, kw_only=True)
class Work:
    """What all tasks of a worker have in common; `number` is its own, `size_px` height and width of a view."""

    number: int
    photos: Photos
    views: Views
    size_px: tuple[int, int]


class Task(NamedTuple):
    """Rows whose views go one after the other into the shared memory, from byte `start` on."""

    rows: list[int]
    epoch: int | None
    start: int
    memory_bytes: int  # as long as the memory is by now


class Read(NamedTuple):
    """What is told of a row: hash and size of its file, or why there is no view of it."""

    sha256: str = ""
    bytes: int = 0
    fault: str = ""


NOTHING = Read()  # is told yet


def main(socket: int, memory: int) -> None:
    """Do tasks until the connection ends; it brings the work, then paths, then tasks on their rows.

    Args: file descriptors, of one end of a connection and of shared memory.
    """
    with Connection(socket) as parent:
        try:
            work, paths = parent.recv(), PathTable.from_paths(())
            work.views.augment.start()
            shared = mmap.mmap(memory, 0)
            while True:
                task = parent.recv()
                if isinstance(task, PathTable):
                    paths = task
                    continue
                if task.memory_bytes > len(shared):
                    shared = mmap.mmap(memory, task.memory_bytes)
                try:
                    told = _read(work, paths, task, shared)
                except TransferkitError as error:
                    told = error
                except Exception:
                    told = RuntimeError(f"in a process that reads photos:\n{traceback.format_exc()}")
                parent.send(told)
        except (EOFError, ConnectionError):
            return


def _read(work: Work, paths: PathTable, task: Task, shared: mmap.mmap) -> list[Read]:
    """Write the views of a task, and tell of each row."""
    current = np.frombuffer(shared, np.int64, count=1, offset=8 * work.number)
    views = np.frombuffer(shared, np.uint8, count=len(task.rows) * view_bytes(work.size_px), offset=task.start)
    told = []
    for row, place in zip(task.rows, views.reshape(-1, *work.size_px, 3)):
        current[0] = row
        try:
            photo = work.photos.read(paths[row])
        except DecodeError as error:
            told.append(Read(fault=str(error)))
            continue
        place[:] = work.views(photo.image, row, epoch=task.epoch)
        told.append(Read(photo.sha256, photo.bytes))
    current[0] = -1
    return told


def view_bytes(size_px: tuple[int, int]) -> int:
    """Bytes of a view of that height and width."""
    return 3 * size_px[0] * size_px[1]
