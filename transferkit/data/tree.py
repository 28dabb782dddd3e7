"""The files that a path means: a file or a URL itself, all in a folder, or what fits a pattern.

No folder is entered twice.
"""

import fnmatch
import glob
import os
import re
from collections.abc import Iterator

from transferkit.data import web
from transferkit.data.source import Member
from transferkit.zoo.errors import UsageError

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
SEPARATORS = r"[/\\]" if os.name == "nt" else "/"


def files(path: str) -> Iterator[str]:
    """Every file that `path` means, in order, never all in memory; nothing if it is a pattern that fits none.

    A pattern is that of Python's `glob`: ** is any number of folders, none of them hidden. What `walk` says of folders
    that cannot be read holds here too.
    """
    if os.path.isdir(path):
        yield from walk(path)
    elif os.path.lexists(path) or Member.of(path) is not None or web.is_photo(path):
        yield path
    elif "**" in re.split(SEPARATORS, path):
        yield from _matching(path)
    else:
        for found in glob.iglob(path):
            yield from walk(found) if os.path.isdir(found) else [found]


def refuse_url(path: str) -> None:
    """Raise UsageError if `path` is a URL that is taken for no photo: neither of the web nor a place in a tar."""
    if URL.match(path) and not os.path.exists(path) and Member.of(path) is None and not web.is_photo(path):
        raise UsageError(f"{path} is no URL of the web (http, https); download the photo and name the file")


def walk(folder: str) -> Iterator[str]:
    """Every file in a folder and the folders in it, by name; hidden ones are left out.

    Links are followed, but to no folder where the walk has been, and to none that holds `folder`. A folder that cannot
    be read comes in place of its files, so that whoever reads what comes learns the reason.
    """
    entered, waiting = set(_above(folder)), [folder]
    while waiting:
        path = waiting.pop()
        try:
            identity = _identity(path)
            if identity in entered:
                continue
            entered.add(identity)
            with os.scandir(path) as entries:
                found = sorted((entry.name, _is_folder(entry)) for entry in entries if not entry.name.startswith("."))
        except OSError:
            yield path
            continue
        yield from (os.path.join(path, name) for name, is_folder in found if not is_folder)
        waiting += [os.path.join(path, name) for name, is_folder in reversed(found) if is_folder]


def _matching(pattern: str) -> Iterator[str]:
    """The files that fit a pattern with **, or lie in a folder that fits it."""
    parts = re.split(SEPARATORS, pattern)
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    base = "/".join(parts[:first]) + ("/" if first else "")
    wanted = [part for part in parts[first:] if part]
    start = os.path.join(base or ".", "")
    for path in walk(base or "."):
        relative = path.removeprefix(start).split(os.sep)
        if any(_fits(relative[:count], wanted) for count in range(len(relative) + 1)):
            yield path if base else path.removeprefix(start)


def _fits(names: list[str], wanted: list[str]) -> bool:
    if not wanted:
        return not names
    if wanted[0] == "**":
        return _fits(names, wanted[1:]) or (bool(names) and _fits(names[1:], wanted))
    return bool(names) and fnmatch.fnmatch(names[0], wanted[0]) and _fits(names[1:], wanted[1:])


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _above(folder: str) -> Iterator[tuple[int, int]]:
    """The identities of the folders that hold a folder."""
    path = os.path.realpath(folder)
    while (parent := os.path.dirname(path)) != path:
        path = parent
        try:
            yield _identity(path)
        except OSError:
            continue


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
