"""What the decoders would print: libtiff writes each fault of a file to the terminal, past Python and its warnings."""

import contextlib
import ctypes
import functools
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import PIL
from PIL import _imaging  # noqa: F401  so that the library is there


@functools.cache
def silence_libtiff() -> None:
    """Take from libtiff, where it can be found in this process, what it prints errors with; Pillow raises them."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # without one, Python prints what Pillow logs as errors
    for path in _libraries():
        try:
            library = ctypes.CDLL(path)
            library.TIFFSetErrorHandler(None)
            library.TIFFSetErrorHandlerExt(None)
        except (OSError, AttributeError):  # another library of such a name
            continue


def _libraries() -> Iterator[str]:
    """The files of libtiff in this process, Pillow's among them; none where the system does not tell."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
            yield from sorted({line.split(maxsplit=5)[5].rstrip("\n") for line in file if "libtiff" in line})
    elif sys.platform == "darwin":
        yield from map(str, sorted((Path(PIL.__file__).parent / ".dylibs").glob("libtiff*")))
