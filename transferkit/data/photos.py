"""Files to photos no larger than a network can use: decoded and shrunk once, then held or read from the store."""

import hashlib
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from transferkit.data import known
from transferkit.data.decode import Decoded, decode, read_file
from transferkit.data.depth import LARGEST
from transferkit.data.known import Content, Identity, Known
from transferkit.data.store import Store
from transferkit.zoo.card import Preprocessing

SMALLEST_SIDE_PX = 384
HELD_BYTES = 384 << 20  # of pixels that stay in memory: 680 photos of 500 x 375
LEAST_HELD_BYTES = 64 << 10  # of a photo; smaller ones are decoded as fast as they are found
REMEMBERED_TOGETHER = 1000  # files: a write to the index, flushed to disk, in about 20 seconds of decoding phone photos


def source_side(preprocessing: Preprocessing) -> int:
    """The shorter side, in pixels, to which every command shrinks large photos before it makes a view of them.

    Half as much again as the network sees leaves room for crops; the view itself never has to enlarge.

    >>> source_side(Preprocessing()), source_side(Preprocessing(size_px=(384, 384), crop_pct=1.0))
    (384, 576)
    """
    largest = max(preprocessing.size_px)
    return math.ceil(max(SMALLEST_SIDE_PX, 1.5 * largest, largest / preprocessing.crop_pct))


@dataclass(frozen=True)
class Decoding:
    """How files become photos: the shorter side, in pixels, of large ones, and the `bit_depth` of `decode`."""

    side_px: int
    bit_depth: int | None = None

    @classmethod
    def of(cls, preprocessing: Preprocessing, *, bit_depth: int | None = None) -> "Decoding":
        """What a network's views are made from; a `bit_depth` stands before that of its preprocessing."""
        return cls(source_side(preprocessing), bit_depth or preprocessing.bit_depth)

    def image(self, source: Path | str | bytes | np.ndarray | Image.Image) -> Image.Image:
        """The photo of a source of `decode`. Raises: DecodeError with the reason."""
        return decode(source, shrunk_to=self.side_px, bit_depth=self.bit_depth)


@dataclass(frozen=True, kw_only=True, eq=False)
class Photo:
    """A photo as augmentation and evaluation start from it, with the hash and the size of its file.

    From the store it comes as pixels (H, W, 3) that may not be written.
    """

    image: Decoded
    sha256: str
    bytes: int
    is_stored: bool = False

    @property
    def nbytes(self) -> int:
        """How many bytes its pixels are."""
        return self.image.nbytes if isinstance(self.image, np.ndarray) else 3 * self.image.width * self.image.height


class News(NamedTuple):
    """What reading photos has told about their files: hashes to remember, and `Photos.largest` of some."""

    hashes: list[tuple[Identity, str]]
    largest: dict[str, int]


class Photos:
    """Reads photos by one `Decoding`; from the store where they are in it, which changes no bit of them.

    The first of those read stay in memory, up to `held_bytes` of pixels, for whoever reads them again unchanged.
    """

    def __init__(
        self,
        decoding: Decoding,
        *,
        workers: int,
        store: Store | None = None,
        index: Known | None = None,
        held_bytes: int = 0,
    ):
        self.decoding = decoding
        self.largest: dict[str, int] = {}  # value of each decoded file that does not say how many bits it has, by hash
        self.workers = workers
        self._store = store
        self._index = index
        self._read: list[tuple[Identity, str]] = []
        self._held: dict[Identity, Photo] = {}
        self._room = held_bytes
        self._lock = threading.Lock()

    def read(self, path: Path) -> Photo:
        """The photo in a file; safe to call from many threads.

        Raises: DecodeError with the reason.
        """
        identity = known.identity(path)
        if identity and (held := self._held.get(identity)):
            return held
        content = self._index.contents([path])[0] if self._index else None
        pixels = self._store.get(content.sha256) if content and self._store else None
        if content is None or pixels is None:
            data = read_file(path)
            sha256 = hashlib.sha256(data).hexdigest()
            image, is_stored = self._image(data, sha256)
            photo = Photo(image=image, sha256=sha256, bytes=len(data), is_stored=is_stored)
        else:
            photo = Photo(image=pixels, sha256=content.sha256, bytes=content.bytes, is_stored=True)
        if identity and identity == known.identity(path):
            if self._index and not content:
                self._note(identity, photo.sha256)
            self._hold(identity, photo)
        return photo

    def _hold(self, identity: Identity, photo: Photo) -> None:
        size = photo.nbytes
        with self._lock:
            if LEAST_HELD_BYTES <= size <= self._room and identity not in self._held:
                self._held[identity] = photo
                self._room -= size

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which holds no photos in memory of its own."""
        return self.__dict__ | {"_lock": None, "_held": {}, "_room": 0, "_read": [], "largest": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_lock": threading.Lock()}

    def contents(self, paths: Sequence[Path]) -> list[Content | None]:
        """Hash and size of each file that was read before and has not changed since; opens none of them."""
        return self._index.contents(paths) if self._index else [None] * len(paths)

    def remember(self) -> None:
        """Write the hashes of the files read so far to the index."""
        with self._lock:
            found, self._read = self._read, []
        if found and self._index:
            self._index.add(found)

    def news(self) -> News:
        """What was read so far and is not remembered yet, to be told to the `Photos` of another process; it leaves."""
        with self._lock:
            found, self._read = News(self._read, self.largest), []
            self.largest = {}
        return found

    def learn(self, news: News) -> None:
        """Take over what those of another process have read."""
        self.largest |= news.largest
        for each in news.hashes:
            self._note(*each)

    def _image(self, data: bytes, sha256: str) -> tuple[Decoded, bool]:
        """The photo, and whether it is in the store from now on."""
        pixels = self._store.get(sha256) if self._store else None
        if pixels is not None:
            return pixels, True
        image, is_stored = self.decoding.image(data), False
        if LARGEST in image.info:
            self.largest[sha256] = image.info[LARGEST]
        # One that does not say its depth is decoded each time: whether it is wrongly dim is seen beside the others.
        elif self._store and min(image.size) == self.decoding.side_px:
            is_stored = self._store.put(sha256, np.asarray(image))
        return image, is_stored

    def _note(self, identity: Identity, sha256: str) -> None:
        with self._lock:
            self._read.append((identity, sha256))
            is_enough = len(self._read) >= REMEMBERED_TOGETHER
        if is_enough:
            self.remember()
