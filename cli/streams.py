"""What the command prints: results on stdout must arrive, news on stderr need not."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TextIO

from transferkit.zoo import files
from transferkit.zoo.errors import StorageError

ESCAPED = "backslashreplace"  # what the encoding of a stream does not have


class ReaderGoneError(Exception):
    """Who read our results, such as `head`, has seen enough."""


class Results(io.FileIO):
    """The file of stdout: that it is full or gone ends the command in our own words."""

    def write(self, data) -> int:
        try:
            return super().write(data)
        except BrokenPipeError as error:
            raise ReaderGoneError from error
        except OSError as error:
            raise StorageError(f"cannot write to stdout: {error.strerror or error}") from error


class News(io.FileIO):
    """The file of stderr: what it does not take is dropped, and work goes on."""

    def write(self, data) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def own() -> None:
    """Make stdout and stderr of this process as described.

    Raises: StorageError if stdout is closed, before work is done whose result nobody would see.
    """
    is_closed = _fill_gaps()
    for name, number, kind in (("stdout", 1, Results), ("stderr", 2, News)):
        setattr(sys, name, _stream(getattr(sys, name), number, kind))
    if is_closed:
        raise StorageError("stdout is closed; redirect it, such as with > results.txt or > /dev/null")


def as_utf8() -> TextIO:
    """stdout, which from now on is UTF-8 whatever the terminal or the system would like: for CSV and JSON."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors=ESCAPED)
    return sys.stdout


@contextmanager
def into(path: Path | None) -> Iterator[None]:
    """The block in which results go to a file, which is there when it has ended, whole; None for stdout as it is."""
    if path is None:
        yield
        return
    with (
        files.new_file(path) as scratch,
        open(scratch, "w", encoding="utf-8", errors=ESCAPED, newline="") as file,
        redirect_stdout(file),
    ):
        yield


def _fill_gaps() -> bool:
    """Open what is closed of the first three descriptors, else the next file opened would get its output.

    Returns: whether stdout was closed.
    """
    closed = []
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            closed.append(number)
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    return 1 in closed


def _stream(old: io.TextIOBase | None, number: int, kind: type[io.FileIO]) -> io.TextIOBase:
    if old is not None and os.name == "nt" and old.isatty():  # a console, which takes any character
        return old
    encoding = old.encoding if old is not None else "utf-8"
    raw = kind(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors=ESCAPED,
        line_buffering=number == 2 or raw.isatty(),
        write_through=False,
    )
