"""Further tries of what a server may fail: as long as it is busy, not once it is silent, and never past a signal.

A try runs in a thread of its own. So it can be left alone when nothing arrives for half a minute, where the client of
the hub goes on for minutes, and a signal that asks for the end is not for a library to swallow.
"""

import email.utils
import errno
import http.client
import logging
import threading
import time
import urllib.error
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from transferkit.zoo import stops
from transferkit.zoo.errors import NetworkError, StorageError, TransferkitError
from transferkit.zoo.text import first_line

SILENT_SECONDS = 25  # without a byte, through all tries
PATIENT_SECONDS = 60  # the same where the server answers that it is busy
PAUSES = (1, 2, 4, 8)  # seconds before another try, where the server does not say how long
BUSY = {408, 429, 500, 502, 503, 504}
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}
LOGGERS = ("huggingface_hub.file_download", "huggingface_hub.utils._http")
THREAD = "transferkit-download"

T = TypeVar("T")


class _Heard:
    """What is known of a server: when a byte came last, and why a try failed."""

    def __init__(self, *, is_told: bool):
        self.is_told = is_told
        self.moved = time.monotonic()
        self.reason = ""
        self.is_busy = False

    def told(self) -> None:
        """A part has arrived."""
        self.moved = time.monotonic()

    def left(self) -> float:
        """Seconds of silence until it is given up."""
        limit = PATIENT_SECONDS if self.is_busy else SILENT_SECONDS
        return self.moved + limit - time.monotonic()


def tried(work: Callable[[Callable[[], None]], T], *, is_told: bool = True) -> T:
    """What `work` gives, with further tries where the server is busy or the connection fails.

    Args: work, which calls what it is given whenever a part arrives; is_told, False if it cannot, and so may be silent.
    Raises: NetworkError with the reason, StorageError, and what the hub's client says of a name.
    """
    heard = _Heard(is_told=is_told)
    for pause in (*PAUSES, None):
        try:
            return _watched(work, heard)
        except Exception as error:
            status = _status(error)
            _raise_if_final(error, status)
            heard.is_busy = heard.is_busy or status in BUSY
            heard.reason = _reason(error, status)
            wait = _asked_to_wait(error) or pause
        if wait is None or heard.left() < wait:
            heard.reason += f", and asks to wait {wait:.0f} seconds" if wait and wait > PATIENT_SECONDS else ""
            break
        stops.sleep(wait)
    raise NetworkError(f"{heard.reason}; try again later")


def _watched(work: Callable[[Callable[[], None]], T], heard: _Heard) -> T:
    """What `work` gives or raises. Raises: NetworkError, and leaves it alone, if it is silent for long."""
    found: list[tuple[Any, BaseException | None]] = []
    ended = threading.Event()

    def run() -> None:
        try:
            found.append((work(heard.told), None))
        except BaseException as error:
            found.append((None, error))
        finally:
            ended.set()

    _hush()
    threading.Thread(target=run, name=THREAD, daemon=True).start()
    while not ended.wait(0.1):
        stops.check()
        if heard.is_told and heard.left() <= 0:
            reason = heard.reason if heard.is_busy else f"no answer for {SILENT_SECONDS} seconds"
            raise NetworkError(f"{reason}; try again later")
    value, error = found[0]
    if error is not None:
        raise error
    return value


def _raise_if_final(error: Exception, status: int | None) -> None:
    """Raise what another try would not mend, as an error of ours where the name of what was asked is not to blame."""
    from huggingface_hub import errors as hub

    if isinstance(error, (TransferkitError, hub.RepositoryNotFoundError, hub.RevisionNotFoundError)):
        raise error
    if isinstance(error, (TypeError, AttributeError, NameError, ImportError, MemoryError)):  # not the server's
        raise error
    if isinstance(error, hub.EntryNotFoundError) and not isinstance(error, hub.LocalEntryNotFoundError):
        raise error
    if status is not None and status not in BUSY:
        raise NetworkError(_reason(error, status)) from error
    if isinstance(error, OSError) and error.errno in DISK and not isinstance(error, urllib.error.URLError):
        raise StorageError(f"cannot keep what is downloaded: {error}") from error


def _status(error: BaseException) -> int | None:
    """The number that the server answers, if it was that."""
    answer = getattr(_root(error), "response", None)
    status = getattr(answer, "status_code", None) or getattr(error, "code", None)
    return status if isinstance(status, int) else None


def _reason(error: Exception, status: int | None) -> str:
    if status is not None:
        return f"the server answers {status} ({http.client.responses.get(status, 'unknown').lower()})"
    return first_line(_root(error))


def _asked_to_wait(error: Exception) -> float | None:
    """The seconds that the server asks for, if it does."""
    answer = getattr(_root(error), "response", error)
    told = (getattr(answer, "headers", None) or {}).get("Retry-After")
    if not told:
        return None
    with suppress(ValueError):
        return max(0.0, float(told))
    with suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(told).timestamp() - time.time())
    return None


def _root(error: BaseException) -> BaseException:
    """What the hub's client had before it said that nothing is cached."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    return error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error


class _Hush(logging.Filter):
    """Leaves out the warnings of our own downloads: what matters of them is said once, in the end."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.threadName != THREAD


_HUSH = _Hush()


def _hush() -> None:
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_HUSH)  # adding it twice adds it once
