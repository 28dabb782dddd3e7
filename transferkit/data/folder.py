"""DATA to a listing of images: a folder of class folders, one with train/ and val/ and test/, a CSV, or shards."""

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from transferkit.data import grouping, parts, shards, table, trainable
from transferkit.data.listing import IMAGE_SUFFIXES, Listing, PathTable, class_name
from transferkit.progress import Progress
from transferkit.zoo.errors import DataError, StorageError, UsageError

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
LOOSE = "not in a class folder"
SPECIAL = "not a regular file"
NO_PART = "not train, val or test"
FOREIGN = "link to the folder of another class, or to one that holds it"
LOOPED = "folder read before (a link)"
Ignored = list[tuple[str, str]]  # (path, reason)


def read(
    data: Path | str,
    *,
    to_train: bool = True,
    group_by: str | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Listing:
    """The images of DATA with their classes, in an order that depends on names alone.

    Args: to_train, whether two classes with training images are needed; to score, any labelled image will do; group_by,
    a column of the CSV or a pattern of `grouping`; cache, the folder for what is learned about shards.
    Raises: UsageError if there is no such path, DataError if it cannot be used, StorageError if it may not be read,
    NetworkError.
    """
    data = os.path.expanduser(data)
    source = Path(data)
    try:
        if source.is_dir():
            listing = _read_folder(source)
        elif shards.is_shards(data):
            listing = shards.read(data, cache=cache, progress=progress)
        elif source.is_file():
            listing = table.read(source, group_by=group_by)
        else:
            raise UsageError(f"no such folder or CSV file: {source}")
    except OSError as error:
        raise StorageError(f"cannot read {error.filename or source}: {error.strerror}") from error
    if group_by and (source.is_dir() or shards.is_shards(data)):
        listing = grouping.by_pattern(listing, group_by)
    if to_train:
        trainable.check(listing)
    return listing


def _read_folder(source: Path) -> Listing:
    ignored: Ignored = []
    folders = _class_folders(source, "", ignored)
    found_parts = parts.find(source, folders, lambda relative: _folder_names(source, relative))
    if not found_parts.folders:
        _require_folders(source, folders)
        return _listing(source, _files_by_class(source, {"": folders}, ignored), ignored)
    for name, relative in folders.items():
        if relative not in found_parts.folders.values():
            part = parts.part_of(name)
            ignored.append((relative, f"no class folders, or not the only {part} part" if part else NO_PART))
    class_folders = {}
    for part, relative in found_parts.folders.items():
        class_folders[part] = _class_folders(source, relative, ignored)
        _require_folders(source / relative, class_folders[part])
    found = _files_by_class(source, class_folders, ignored)
    return replace(_listing(source, found, ignored), notes=found_parts.notes)


def _class_folders(source: Path, relative: str, ignored: Ignored) -> dict[str, str]:
    """NFC name to path relative to `source` of each folder in `relative`, by name; all else in it goes to `ignored`.

    Raises: DataError if two names are the same in NFC, or one is not valid Unicode.
    """
    found: dict[str, str] = {}
    for name, is_folder, _ in _entries(source, relative, ignored):
        path = _join(relative, name)
        if not is_folder:
            ignored.append((path, LOOSE))
            continue
        label = class_name(name, source / path)
        if label in found:
            raise DataError(
                f"two class folders of {source / relative} are both named {label!r}, spelled in other bytes; rename one"
            )
        found[label] = path
    return dict(sorted(found.items()))


def _folder_names(source: Path, relative: str) -> list[str]:
    """The names in NFC of the folders in a folder."""
    with os.scandir(source / relative) as entries:  # no more is asked of each: there may be 100,000 photos
        names = [entry.name for entry in entries if not _is_hidden(entry.name) and _kind(entry)[0]]
    return sorted(unicodedata.normalize("NFC", name) for name in names)


def _files_by_class(
    source: Path, folders: dict[str, dict[str, str]], ignored: Ignored
) -> dict[str, dict[str, list[str]]]:
    """The files of each part's class folders and their sub-folders, relative to `source`, by NFC name.

    Raises: DataError naming a class folder without files.
    """
    roots = [os.path.realpath(source / relative) for part in folders.values() for relative in part.values()]
    found = {}
    for part, classes in folders.items():
        found[part] = {
            label: sorted(_files(source, path, roots, ignored), key=_by_name) for label, path in classes.items()
        }
        for label, relative in classes.items():
            if not found[part][label]:
                raise DataError(f"class folder {source / relative} holds no images; add some or remove it")
    return found


def _files(source: Path, relative: str, roots: list[str], ignored: Ignored) -> Iterator[str]:
    """The files of a class folder; `roots` are the real paths of all class folders, none of which a link may reach."""
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
        for name, is_folder, is_file in _entries(source, folder, ignored):
            path = f"{folder}/{name}"
            if is_folder and os.path.islink(source / path) and _is_foreign(os.path.realpath(source / path), own, roots):
                ignored.append((path, FOREIGN))
            elif is_folder:
                waiting.append(path)
            elif is_file:
                yield path
            else:
                ignored.append((path, SPECIAL))


def _is_foreign(folder: str, own: str, roots: list[str]) -> bool:
    """Whether a folder holds a class folder, or is in one that is not `own`."""
    return not _holds(own, folder) and any(_holds(folder, root) or _holds(root, folder) for root in roots)


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def _entries(source: Path, relative: str, ignored: Ignored) -> Iterator[tuple[str, bool, bool]]:
    """(name, is a folder, is a regular file) of what is not hidden, by name; links are followed."""
    with os.scandir(source / relative) as entries:
        found = sorted(((entry.name, *_kind(entry)) for entry in entries), key=lambda e: _by_name(e[0]))
    for name, is_folder, is_file in found:
        if _is_hidden(name):
            ignored.append((_join(relative, name), HIDDEN))
        else:
            yield name, is_folder, is_file


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in SYSTEM_NAMES


def _kind(entry: os.DirEntry) -> tuple[bool, bool]:
    try:
        is_folder = entry.is_dir()
        return is_folder, not is_folder and entry.is_file()
    except OSError:  # a link to itself, or into a folder that may not be read
        return False, False


def _require_folders(folder: Path, class_folders: dict[str, str]) -> None:
    """Raises: DataError, with a hint, if there is no class folder."""
    if class_folders:
        return
    names = os.listdir(folder)
    images = sum(name.lower().endswith(IMAGE_SUFFIXES) for name in names)
    found = f"it holds {images} images directly" if images else "it holds other files" if names else "it is empty"
    advice = f"put the images of each class into a folder of its own: {folder.name}/CLASS/IMAGE"
    if images:
        advice += "; if their labels are in the file names, list them in a CSV (path,label)"
    raise DataError(f"{folder} has no class folders: {found}; {advice}")


def _listing(source: Path, found: dict[str, dict[str, list[str]]], ignored: Ignored) -> Listing:
    """The listing of part to class to relative paths."""
    classes = sorted({label for by_class in found.values() for label in by_class})
    number = {label: index for index, label in enumerate(classes)}
    part_names, labels, sizes = [], [], []
    for part, by_class in found.items():
        for label, paths in by_class.items():
            part_names.append(part)
            labels.append(number[label])
            sizes.append(len(paths))
    prefix = os.path.join(source, "")
    every_path = (prefix + path for by_class in found.values() for paths in by_class.values() for path in paths)
    return Listing(
        source=source,
        paths=PathTable.from_paths(every_path),
        labels=np.repeat(np.array(labels, np.int64), sizes),
        parts=np.repeat(np.array(part_names, "<U5"), sizes),
        classes=tuple(classes),
        ignored=tuple(ignored),
    )


def _by_name(name: str) -> tuple[str, str]:
    return unicodedata.normalize("NFC", name), name


def _join(relative: str, name: str) -> str:
    return f"{relative}/{name}" if relative else name
