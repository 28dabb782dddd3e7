"""Memory that several processes share: it has no name, so nothing is left of it, and it does not count as /dev/shm.

A container has 64 MB of /dev/shm; this counts as memory of the processes. It is as long as it was ever asked for, but
takes only what was written.
"""

import mmap
import os
import tempfile
from typing import NamedTuple

import numpy as np


class Place(NamedTuple):
    """Where in the memory the pixels of a photo lie: their first byte, and their height and width."""

    start: int
    height: int
    width: int


class SharedMemory:
    """Bytes behind a file descriptor, which a process that is started may inherit."""

    def __init__(self, descriptor: int):
        self.descriptor = descriptor
        self._mapped: mmap.mmap | None = None

    @classmethod
    def created(cls) -> "SharedMemory":
        """Memory, or a file without a name where the system has no such memory; its first user closes it."""
        if hasattr(os, "memfd_create"):
            return cls(os.memfd_create("transferkit photos"))
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    def close(self) -> None:
        """Give the descriptor back; arrays of it stay valid."""
        os.close(self.descriptor)

    def grow(self, count: int) -> None:
        """Be at least `count` bytes long."""
        if os.fstat(self.descriptor).st_size < count:
            os.ftruncate(self.descriptor, count)

    def array(self, start: int, shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
        """The values from byte `start` on, to be read and written by all."""
        count = int(np.prod(shape))
        end = start + count * np.dtype(dtype).itemsize
        if self._mapped is None or len(self._mapped) < end:
            self._mapped = mmap.mmap(self.descriptor, 0)  # of today's length; earlier arrays keep theirs
        return np.frombuffer(self._mapped, dtype, count=count, offset=start).reshape(shape)

    def write(self, pixels: np.ndarray, start: int) -> None:
        """Put bytes from `start` on: by the system in one go, where a map would take each page by itself."""
        content = np.ascontiguousarray(pixels).data.cast("B")
        while content:
            written = os.pwrite(self.descriptor, content, start)
            content, start = content[written:], start + written


class Shelf:
    """Decoded photos one behind the other between two bytes of the memory, as many as there is room for."""

    def __init__(self, memory: SharedMemory, start: int, end: int):
        self._memory = memory
        self._next, self._end = start, end

    def put(self, pixels: np.ndarray) -> Place | None:
        """Where a photo is from now on; None if there is no room for it. Shapes: (H, W, 3) uint8."""
        start, after = self._next, self._next + pixels.size
        if after > self._end:
            return None
        try:
            self._memory.write(pixels, start)
        except OSError:  # no memory, or no disk for the file that stands for it
            self._end = start
            return None
        self._next = after
        return Place(start, *pixels.shape[:2])
