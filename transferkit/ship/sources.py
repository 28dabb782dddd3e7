"""What a classifier takes for a photo, and what it refuses before anything is computed.

One photo is a path, a URL of the web, the bytes of an image file, anything with `read` that gives them, a uint8 array
or tensor, or a Pillow image. A folder means every file in it, and a pattern what fits it, as on the command line.
Whatever else can be iterated is many of these.
"""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Protocol, TypeGuard

import numpy as np
from PIL import Image
from torch import Tensor

from transferkit.data import web
from transferkit.data.source import MAX_FILE_BYTES, DecodeError
from transferkit.data.tree import files, refuse_url
from transferkit.zoo.errors import KindError

TAKEN = (
    "a path, a folder, a pattern, a URL, bytes or an open file of an image, a uint8 array or tensor, a Pillow image, "
    "or an iterable of these"
)
CHANNELS = (1, 3, 4)


class Readable(Protocol):
    """An open file, a BytesIO, the answer of a web server."""

    def read(self) -> bytes: ...


Source = str | os.PathLike | bytes | bytearray | memoryview | Readable | np.ndarray | Tensor | Image.Image


def every_photo(sources: Source | Iterable[Source]) -> Iterator[Source]:
    """Every photo that is meant, in order, read one at a time; files in place of a folder or a pattern.

    Raises: KindError for what is no photo and holds none, UsageError for a URL that is not of the web.
    """
    if _is_one(sources):
        photos = [sources]
    elif isinstance(sources, Mapping) or not isinstance(sources, Iterable):
        raise _no_photo(sources)
    else:
        photos = sources
    for source in photos:
        if not _is_one(source):
            raise _no_photo(source)
        yield from _files(source)


def content_of(source: Source) -> str | bytes | np.ndarray | Image.Image:
    """What `decode` takes for it.

    Raises: DecodeError if it cannot be read, KindError for a file that was opened as text.
    """
    if isinstance(source, (str, os.PathLike)):
        path = _path(source)
        return web.fetch(path) if web.is_photo(path) else path
    if isinstance(source, (bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, Tensor):
        source = source.detach().cpu().numpy()
        return _pixels(source if source.ndim < 3 or source.shape[0] not in CHANNELS else np.moveaxis(source, 0, -1))
    if isinstance(source, np.ndarray):
        return _pixels(source)
    return source if isinstance(source, (bytes, Image.Image)) else _read(source)


def _is_one(value: Any) -> TypeGuard[Source]:
    kinds = (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray, Tensor, Image.Image)
    return isinstance(value, kinds) or callable(getattr(value, "read", None))


def _files(source: Source) -> Iterator[Source]:
    if isinstance(source, (np.ndarray, Tensor)):
        _check(source)
    if not isinstance(source, (str, os.PathLike)):
        yield source
        return
    path = _path(source)
    refuse_url(path)
    if os.path.isdir(path):
        yield from files(path)
        return
    found = files(path) if glob.has_magic(path) and not os.path.lexists(path) else iter(())
    yield from chain([next(found, source)], found)  # a pattern that fits nothing is a file that is not there


def _path(source: str | os.PathLike) -> str:
    return os.path.expanduser(os.fsdecode(source))


def _check(pixels: "np.ndarray | Tensor") -> None:
    """Raise KindError for an array or a tensor that is no image, rather than answer each of them with a fault."""
    shape, dtype = tuple(pixels.shape), str(pixels.dtype).removeprefix("torch.")
    where = f"{'a tensor' if isinstance(pixels, Tensor) else 'an array'} of {dtype}, shape {shape}"
    if dtype != "uint8":
        scaled = "scale it to 0..255" + ", such as (255 * x).round()" * ("float" in dtype)
        raise KindError(f"{where} is no image; uint8 is taken: {scaled}, then make it uint8")
    last = shape[-1:] + (shape[:1] if isinstance(pixels, Tensor) else ())
    if len(shape) == 2 or (len(shape) == 3 and set(last) & set(CHANNELS)):
        return
    allowed = "(H, W), (H, W, C) or, of tensors, (C, H, W), C being 1, 3 or 4"
    raise KindError(f"{where} is no image; taken are {allowed}{'; of a batch give a list' * (len(shape) == 4)}")


def _pixels(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def _read(file: Readable) -> bytes:
    try:
        data = file.read()
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise DecodeError(f"cannot be read: {' '.join(str(error).split())}") from error
    if isinstance(data, str):
        raise KindError("a file opened as text is no photo; open it with mode 'rb'")
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise KindError(f"read() of a {type(file).__name__} gives a {type(data).__name__}, not bytes")
    if len(data) > MAX_FILE_BYTES:
        raise DecodeError(f"larger than {MAX_FILE_BYTES >> 20} MB")
    return bytes(data)


def _no_photo(value: Any) -> KindError:
    return KindError(f"an object of type {type(value).__name__} is no photo; taken are {TAKEN}")
