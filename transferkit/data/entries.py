"""What lies in a folder, in an order that depends on names alone: its entries, or all files below it."""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from transferkit.data.listing import IMAGE_SUFFIXES

SYSTEM_NAMES = (
    "__macosx",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "@eadir",
    "$recycle.bin",
    "system volume information",
)

HIDDEN = "hidden or system entry"
SPECIAL = "not a regular file"
FOREIGN = "link to the folder of another class, or to one that holds it"
LOOPED = "folder read before (a link)"
Ignored = list[tuple[str, str]]  # (path, reason)


def of(source: Path, relative: str, ignored: Ignored) -> Iterator[tuple[str, bool, bool]]:
    """(name, is a folder, is a regular file) of what is not hidden, by name; links are followed."""
    with os.scandir(source / relative) as entries:
        found = sorted(((entry.name, *_kind(entry)) for entry in entries), key=lambda e: by_name(e[0]))
    for name, is_folder, is_file in found:
        if is_hidden(name):
            ignored.append((join(relative, name), HIDDEN))
        else:
            yield name, is_folder, is_file


def folder_names(source: Path, relative: str) -> list[str]:
    """The names in NFC of the folders in a folder."""
    with os.scandir(source / relative) as entries:  # no more is asked of each: there may be 100,000 photos
        names = [entry.name for entry in entries if not is_hidden(entry.name) and _kind(entry)[0]]
    return sorted(unicodedata.normalize("NFC", name) for name in names)


def files(source: Path, relative: str, roots: list[str], ignored: Ignored) -> Iterator[str]:
    """The files of a folder and of those in it; `roots` are real paths of folders, none of which a link may reach."""
    own = os.path.realpath(source / relative)
    waiting, read_before = [relative], set()
    while waiting:
        folder = waiting.pop()
        status = os.stat(source / folder)
        identity = (status.st_dev, status.st_ino)
        if identity in read_before:
            ignored.append((folder, LOOPED))
            continue
        read_before.add(identity)
        for name, is_folder, is_file in of(source, folder, ignored):
            path = join(folder, name)
            if is_folder and os.path.islink(source / path) and _is_foreign(os.path.realpath(source / path), own, roots):
                ignored.append((path, FOREIGN))
            elif is_folder:
                waiting.append(path)
            elif is_file:
                yield path
            else:
                ignored.append((path, SPECIAL))


def is_image(name: str) -> bool:
    """Whether a file is called as an image is.

    >>> is_image("a/1.JPG"), is_image("labels.csv")
    (True, False)
    """
    return name.casefold().endswith(IMAGE_SUFFIXES)


def tables(folder: Path) -> list[str]:
    """The names of the files in a folder itself that are called as tables are, in order."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not is_hidden(entry.name) and _is_table(entry.name)]
    return sorted(names, key=by_name)


def images(folder: Path) -> list[str]:
    """The names of the files in a folder itself that are called as images are, in order."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not is_hidden(entry.name) and is_image(entry.name)]
    return sorted(names, key=by_name)


def by_name(name: str) -> tuple[str, str]:
    """What names are sorted by: the same in either spelling of an accent."""
    return unicodedata.normalize("NFC", name), name


def join(relative: str, name: str) -> str:
    """The path of an entry of the folder `relative`, which is "" for the outermost."""
    return f"{relative}/{name}" if relative else name


def _is_foreign(folder: str, own: str, roots: list[str]) -> bool:
    """Whether a folder holds one of `roots`, or is in one that is not `own`."""
    return not _holds(own, folder) and any(_holds(folder, root) or _holds(root, folder) for root in roots)


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def _is_table(name: str) -> bool:
    return name.casefold().endswith((".csv", ".tsv", ".jsonl"))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden or of a system: it belongs to nobody."""
    return name.startswith(".") or name.casefold() in SYSTEM_NAMES


def _kind(entry: os.DirEntry) -> tuple[bool, bool]:
    try:
        is_folder = entry.is_dir()
        return is_folder, not is_folder and entry.is_file()
    except OSError:  # a link to itself, or into a folder that may not be read
        return False, False
