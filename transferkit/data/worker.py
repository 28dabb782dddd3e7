"""A process that reads photos and writes views of them into memory that it shares with the one that started it.

It imports no torch: that takes seconds, and a gigabyte where a GPU is. It ends when the connection does, whatever
became of the other end.
"""

import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np

from transferkit.data.decode import Decoded, DecodeError
from transferkit.data.listing import PathTable
from transferkit.data.photos import LEAST_HELD_BYTES, News, Photos
from transferkit.data.shared_memory import Place, SharedMemory, Shelf
from transferkit.data.views import Views
from transferkit.zoo.errors import TransferkitError


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a worker is told at first: its number, how to read and see photos, between which bytes it may keep them.

    `size_px` is height and width of a view.
    """

    number: int
    photos: Photos
    views: Views
    size_px: tuple[int, int]
    shelf: tuple[int, int]


class Request(NamedTuple):
    """Rows to read, each with the place where its photo lies already, if it does.

    Their views go one after the other into the shared memory, from byte `views_at` on; without it none are made.
    """

    rows: list[int]
    places: list[Place | None]
    epoch: int | None
    views_at: int | None


class Found(NamedTuple):
    """What is known of a row that was read: hash and size of its file and where its photo lies, or what is wrong."""

    sha256: str = ""
    bytes: int = 0
    place: Place | None = None
    fault: str = ""


class Reply(NamedTuple):
    """What was found of each row of a request, None where the place was given; and what that told about files."""

    found: list[Found | None]
    news: News


def main(socket: int, memory: int) -> None:
    """Answer requests until the connection ends; it brings the setup, then paths, requests for their rows, other views.

    Args: file descriptors, of one end of a connection and of shared memory.
    """
    with Connection(socket) as parent:
        try:
            worker = _Worker(parent.recv(), SharedMemory(memory))
            while True:
                message = parent.recv()
                if isinstance(message, PathTable):
                    worker.paths = message
                    continue
                if isinstance(message, Views):
                    worker.views = message
                    continue
                try:
                    answer = worker.reply(message)
                except TransferkitError as error:
                    answer = error
                except Exception:
                    answer = RuntimeError(f"in a process that reads photos:\n{traceback.format_exc()}")
                parent.send(answer)
        except (EOFError, ConnectionError):
            return


class _Worker:
    def __init__(self, setup: Setup, memory: SharedMemory):
        setup.views.augment.start()
        self.paths, self.views = PathTable.from_paths(()), setup.views
        self._setup = setup
        self._memory = memory
        self._row_at = memory.array(8 * setup.number, (1,), np.int64)
        self._shelf = Shelf(memory, *setup.shelf)

    def reply(self, request: Request) -> Reply:
        """Read the rows of a request, and write their views."""
        found = []
        for index, (row, place) in enumerate(zip(request.rows, request.places)):
            self._row_at[0] = row
            if place:
                image, told = self._memory.array(place.start, (place.height, place.width, 3)), None
                image.flags.writeable = False
            else:
                image, told = self._read(row)
            found.append(told)
            if image is not None and request.views_at is not None:
                view = self.views(image, row, epoch=request.epoch)
                start = request.views_at + index * view.nbytes
                self._memory.array(start, (*self._setup.size_px, 3))[:] = view
        self._row_at[0] = -1
        return Reply(found, self._setup.photos.news())

    def _read(self, row: int) -> tuple[Decoded | None, Found]:
        """The photo in a file, which is kept if it would be decoded again and that is slower than to find it."""
        try:
            photo = self._setup.photos.read(self.paths[row])
        except DecodeError as error:
            return None, Found(fault=str(error))
        image, place = photo.image, None
        if not photo.is_stored and photo.nbytes >= LEAST_HELD_BYTES:
            image = np.asarray(image)  # once, for the shelf and for the view
            place = self._shelf.put(image)
        return image, Found(photo.sha256, photo.bytes, place)


def view_bytes(size_px: tuple[int, int]) -> int:
    """Bytes of a view of that height and width."""
    return 3 * size_px[0] * size_px[1]
