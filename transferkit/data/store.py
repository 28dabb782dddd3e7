"""Decoded photos on disk, by the content of the file they come from: a photo is decoded once, not once a run.

An entry is a file of its own, written beside its place and renamed into it, and never changed after that. Nothing is
flushed to the disk: an entry that a crash left incomplete does not fit its checksums and is made again.
"""

import contextlib
import functools
import mmap
import os
import struct
import tempfile
import threading
import time
import zlib
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import features

from transferkit.progress import Progress
from transferkit.zoo.disk_cache import DiskCache

RULE = 3  # of data/decode.py; to be raised with every change that makes other pixels of some file
MAGIC = b"tkpixels"
HEADER = struct.Struct("<8sIIII")  # magic, height, width, checksum of the pixels, checksum of all this and the key
CLOCK_SECONDS = 2  # by so much the times of files may lie behind our clock


@functools.cache
def decode_rule() -> str:
    """What decides the pixels of a photo beside its bytes: our own rule and the versions of the decoders."""
    own = ("pil", "libjpeg_turbo", "jpg", "webp", "avif", "jpg_2000", "littlecms2")
    codecs = [features.version(name) or "0" for name in own]
    for name in ("pillow_heif", "pillow_jxl_plugin", "pydicom"):
        try:
            codecs.append(metadata.version(name))
        except metadata.PackageNotFoundError:
            codecs.append("0")
    return "-".join([str(RULE), *codecs])


class Store:
    """Photos shrunk to one side length; safe for several processes and threads, whatever happens to them.

    The least recently used go first when it is full, those of other rules and sides included, but no photo of this run
    makes way for another of it: of a folder that is too large, the store keeps what it can, not what came last. Each
    process looks at the size of the whole once in a twentieth of the limit, so n of them may exceed it by n - 1 such
    parts. A store that cannot be written says so once and is only read from then on.
    """

    def __init__(self, cache: Path, *, side: int, progress: Progress, bit_depth: int | None = None):
        self._kept = DiskCache(cache, "pixels")
        self._folder = self._kept.folder / "-".join(map(str, filter(None, (decode_rule(), side, bit_depth))))
        self._progress = progress
        self._opened = time.time() - CLOCK_SECONDS
        self._room = 0  # bytes to write before the size of the store is looked at again
        self._is_writable = True
        self._verified: set[str] = set()  # entries whose checksum this process has computed
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_lock": None, "_progress": Progress()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_lock": threading.Lock()}

    def get(self, sha256: str) -> np.ndarray | None:
        """The pixels decoded from the file of that hash, mapped into memory; None if they are not there or damaged.

        Shapes: (H, W, 3) uint8, not writable.
        """
        path = self._path(sha256)
        try:
            with open(path, "rb") as file:
                used = os.fstat(file.fileno()).st_mtime
                memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # an empty file cannot be mapped
            return None
        if used < self._opened:  # once a run is often enough to know which is used least
            self._kept.use(path)
        pixels = _pixels(memory, sha256, is_verified=sha256 in self._verified)
        if pixels is not None:
            self._verified.add(sha256)
        return pixels

    def put(self, sha256: str, pixels: np.ndarray) -> bool:
        """Keep the pixels decoded from the file of that hash, if there is room; whether they are kept.

        Shapes: (H, W, 3) uint8.
        """
        content = np.ascontiguousarray(pixels).data
        try:
            if not self._has_room(HEADER.size + content.nbytes):
                return False
            self._write(self._path(sha256), _header(pixels.shape, zlib.crc32(content), sha256), content)
        except OSError as error:
            self._only_read(error.strerror or str(error))
            return False
        return True

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256[2:]

    def _write(self, path: Path, header: bytes, content: memoryview) -> None:
        try:
            descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                file.write(header)
                file.write(content)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def _has_room(self, size: int) -> bool:
        with self._lock:
            if self._is_writable and self._room < size:
                self._room = self._kept.make_room(size, since=self._opened)
            self._room -= size
            is_full = self._is_writable and self._room < 0
        if is_full:
            self._only_read("it is full, and all in it is in use")
        return self._is_writable

    def _only_read(self, reason: str) -> None:
        with self._lock:
            was_writable, self._is_writable = self._is_writable, False
        if was_writable:
            where = f"no more photos are kept in {self._kept.folder}"
            self._progress.say(f"{where}: {reason.lower()}; the run goes on without")


def _header(shape: tuple[int, ...], checksum: int, sha256: str) -> bytes:
    height, width, _ = shape
    start = HEADER.pack(MAGIC, height, width, checksum, 0)
    return HEADER.pack(MAGIC, height, width, checksum, zlib.crc32(start + sha256.encode()))


def _pixels(memory: mmap.mmap, sha256: str, *, is_verified: bool) -> np.ndarray | None:
    """The pixels in an entry; None if a bit of it is not as it was written, as far as that is not known already.

    The checksum takes 0.2 ms of a photo that took 45 to decode, or 2 if it is a small one.
    """
    if len(memory) < HEADER.size:
        return None
    _, height, width, checksum, _ = HEADER.unpack_from(memory)
    is_whole = len(memory) == HEADER.size + height * width * 3
    if not is_whole or memory[: HEADER.size] != _header((height, width, 3), checksum, sha256):
        return None
    content = memoryview(memory)[HEADER.size :]
    if not is_verified and zlib.crc32(content) != checksum:
        return None
    return np.frombuffer(content, np.uint8).reshape(height, width, 3)
