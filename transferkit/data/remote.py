"""Files behind a URL that fsspec understands, read in parts; nothing here for files of this machine."""

import functools
import re
import threading
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

from transferkit.zoo import stops
from transferkit.zoo.errors import NetworkError, TransferkitError, UsageError

URL = re.compile(r"((?:[a-z0-9_+.-]+::)*[a-z][a-z0-9_+.-]+):/+", re.IGNORECASE)  # one letter would be a Windows drive
AHEAD_BYTES = 8 << 20  # a request takes as long as 1 to 8 MB, so this is about what it costs to ask
NEAR_BYTES = 1 << 20  # threads that read photos one after the other come a little out of turn
TRIES = 3
PAUSE_SECONDS = 1  # before the second, and twice as long before the third
SILENT_SECONDS = 10  # of a web server, until it is asked again
VERSIONS = ("ETag", "etag", "md5", "mtime", "LastModified", "last_modified", "updated", "created")  # by file system

T = TypeVar("T")


def is_remote(path: str) -> bool:
    """Whether it is a URL and not a path of this machine."""
    return URL.match(path) is not None


def url(path: str) -> str:
    """The URL that pathlib has made a path of; any other path as it is.

    >>> url("s3:/photos/a.tar"), url("photos/a.tar")
    ('s3://photos/a.tar', 'photos/a.tar')
    """
    return URL.sub(r"\1://", path, count=1) if is_remote(path) else path


def open_file(path: str) -> BinaryIO:
    """The file at a URL, read ahead in large parts; its errors are those of its file system, see `tried`."""
    system, inner = _system(path)
    return system.open(inner, "rb", block_size=AHEAD_BYTES, cache_type="readahead")


def size(path: str) -> int:
    """The size of the file at a URL. Raises: UsageError if there is none, NetworkError."""
    return int(_info(path)["size"])


def version(path: str) -> str | None:
    """What changes when the file at a URL is written to, asked for once; None if its server does not tell."""
    info = _info(path)
    told = next((info[name] for name in VERSIONS if info.get(name)), None)
    return None if told is None else f"{info['size']}:{told}"


def forget() -> None:
    """Ask anew which files there are, and read them anew."""
    _info.cache_clear()
    _window.cache_clear()


def read(path: str, start: int, end: int) -> bytes:
    """Some bytes of the file at a URL; fewer if it ends before. Raises: NetworkError."""
    return _window(path).read(start, end)


def tried(path: str, work: Callable[[], T]) -> T:
    """What `work` makes of the file at a URL; a server may fail it twice.

    Raises: UsageError if there is no such file, NetworkError.
    """
    number = 0
    while True:
        try:
            return work()
        except TransferkitError:
            raise
        except FileNotFoundError as error:
            raise UsageError(f"nothing found at {path}: no such file, or no answer from its server") from error
        except Exception as error:  # each file system has errors of its own
            stops.check()
            number += 1
            if number == TRIES:
                words = " ".join(str(error).split()) or re.sub("^.*Timeout.*$", "no answer", type(error).__name__)
                raise NetworkError(f"cannot read {path}: {words}; try again") from error
            stops.sleep(PAUSE_SECONDS * 2 ** (number - 1))


class _Window:
    """The part of a file read last: who reads on from it gets a larger part at once, who reads elsewhere what he asks.

    So a pass in the order of the file is a stream, and random order costs a request a photo.
    """

    def __init__(self, path: str):
        self._path = path
        self._start = 0
        self._data = b""
        self._lock = threading.Lock()

    def read(self, start: int, end: int) -> bytes:
        with self._lock:
            held = self._start + len(self._data)
            if start >= self._start and end > held and start - held <= NEAR_BYTES:
                kept = max(self._start, held - NEAR_BYTES)  # for those that come late
                self._data = self._data[kept - self._start :] + _fetch(self._path, held, max(end, held + AHEAD_BYTES))
                self._start = kept
            if self._start <= start and end <= self._start + len(self._data):
                return self._data[start - self._start : end - self._start]
        return _fetch(self._path, start, end)


@functools.lru_cache(maxsize=16)  # shards that are read at the same time
def _window(path: str) -> _Window:
    return _Window(path)


def _fetch(path: str, start: int, end: int) -> bytes:
    system, inner = _system(path)
    end = min(end, size(path))
    return tried(path, lambda: system.cat_file(inner, start=start, end=end)) if 0 <= start < end else b""


@functools.cache
def _info(path: str) -> dict[str, Any]:
    system, inner = _system(path)
    return tried(path, lambda: system.info(inner))


@functools.cache
def _system(path: str) -> tuple[Any, str]:
    """The file system of a URL, one of fsspec's, and its path there. Raises: UsageError if nothing here can read it."""
    try:
        import fsspec
    except ImportError as error:
        raise UsageError(f"to read {path}: pip install 'transferkit[shards]'") from error
    try:
        return fsspec.core.url_to_fs(path, **_patience(path))
    except ImportError as error:  # names the package of that file system
        raise UsageError(f"cannot read {path}: {error}") from error
    except ValueError as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def _patience(path: str) -> dict[str, Any]:
    """What a file system has to be told so that it does not wait five minutes for a server that never answers."""
    if not path.lower().startswith(("http://", "https://")):
        return {}
    import aiohttp  # of fsspec's own for such URLs

    limits = aiohttp.ClientTimeout(total=None, sock_connect=SILENT_SECONDS, sock_read=SILENT_SECONDS)
    return {"client_kwargs": {"timeout": limits}}
