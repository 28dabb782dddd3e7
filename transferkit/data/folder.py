"""DATA to a listing of images: a folder of class folders or of parts, an archive of these, a table, or shards."""

import functools
import os
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np

from transferkit.data import (
    archive,
    entries,
    file_labels,
    grouping,
    hub_data,
    metadata,
    parts,
    shards,
    table,
    trainable,
)
from transferkit.data.entries import Ignored
from transferkit.data.hints import NONE, Hints
from transferkit.data.listing import Listing, PathTable, class_name
from transferkit.progress import Progress
from transferkit.zoo import cache_folder
from transferkit.zoo.errors import DataError, StorageError, UsageError

LOOSE = "not in a class folder"
NO_PART = "not train, val or test"
NO_CLASSES = "no class folders in it"


def read(
    data: Path | str,
    hints: Hints = NONE,
    *,
    to_train: bool = True,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Listing:
    """The images of DATA with their classes, in an order that depends on names alone.

    Args: to_train, whether two classes with training images are needed; to score, any labelled image will do; cache,
    the folder for what is learned about shards.
    Raises: UsageError if there is no such path, or a hint does not fit; DataError if it cannot be used, StorageError if
    it may not be read, NetworkError.
    """
    data = os.path.expanduser(data)
    source = Path(data)
    try:
        is_packed = archive.is_archive(data)
        if is_packed or hub_data.is_hub_data(data):
            about = {"cache": cache or cache_folder.opened(), "progress": progress or Progress()}
            return (_read_archive if is_packed else _read_hub_data)(source, hints, to_train=to_train, **about)
        if source.is_dir():
            listing = _read_folder(source, hints)
        elif shards.is_shards(data):
            _refuse(hints.label_column, "--label-column", "tables", data)
            _refuse(hints.label_from, "--label-from", "folders", data)
            listing = _grouped(shards.read(data, cache=cache, progress=progress), hints)
        elif source.is_file():
            _refuse(hints.label_from, "--label-from", "folders", data)
            listing = table.read(source, hints)
        else:
            raise UsageError(f"no such folder or CSV file: {source}")
    except OSError as error:
        raise StorageError(f"cannot read {error.filename or source}: {error.strerror}") from error
    if to_train:
        trainable.check(listing)
    return replace(listing, hints=hints)


def _read_folder(source: Path, hints: Hints) -> Listing:
    if hints.label_from is not None:
        _refuse(hints.label_column, "--label-column", "tables", source)
        return _grouped(file_labels.read(source, hints.label_from), hints)
    ignored: Ignored = []
    folders = _class_folders(source, "", ignored)
    inside = functools.partial(entries.folder_names, source)
    if tables := metadata.find(source, folders, hints):
        return metadata.read(source, tables, hints)
    _refuse(hints.label_column, "--label-column", "tables", source)
    found_parts = parts.find(source, folders, inside)
    if found_parts.folders:
        return _grouped(_read_parts(source, folders, found_parts, ignored), hints)
    _require_folders(source, source, folders)
    return _grouped(_listing(source, _files_by_class(source, {"": folders}, ignored, []), ignored), hints)


def _read_archive(source: Path, hints: Hints, *, to_train: bool, cache: Path, progress: Progress) -> Listing:
    """The images of an archive: of its class folders, else of the only table in it."""
    inside = archive.unpacked(source, cache=cache, progress=progress)
    with archive.called(source, inside):
        try:
            listing = read(inside, hints, to_train=to_train)
        except DataError:
            tables = entries.tables(inside)
            if len(tables) != 1:
                raise
            listing = read(inside / tables[0], hints, to_train=to_train)
    return replace(listing, given=str(source))


def _read_hub_data(source: Path, hints: Hints, *, to_train: bool, cache: Path, progress: Progress) -> Listing:
    """The images inside of Parquet or Arrow files, as the table says that is made of them."""
    _refuse(hints.label_from, "--label-from", "folders", source)
    inside, notes = hub_data.unpacked(source, cache=cache, progress=progress)
    with archive.called(source, inside):
        listing = read(inside, hints, to_train=to_train)
    return replace(listing, given=str(source), notes=(*notes, *listing.notes))


def _refuse(hint: str | None, option: str, kind: str, data: Path | str) -> None:
    """Raise UsageError for an option that says nothing of DATA of another kind."""
    if hint is not None:
        raise UsageError(f"{option} is for {kind}, which {data} is not; drop it, or name one of the {kind}")


def _grouped(listing: Listing, hints: Hints) -> Listing:
    return grouping.by_pattern(listing, hints.group_by) if hints.group_by else listing


def _read_parts(source: Path, folders: dict[str, str], found_parts: parts.Parts, ignored: Ignored) -> Listing:
    """The images of parts that hold class folders; of a test part without any, what is left out is noted."""
    notes, class_folders = [*found_parts.notes], {}
    for part, relative in found_parts.folders.items():
        loose: Ignored = []
        found = _class_folders(source, relative, loose)
        if part == "test" and not found:
            notes.append(_unlabelled(source, relative))
            ignored.append((relative, NO_CLASSES))
            continue
        _require_folders(source, source / relative, found)
        class_folders[part] = found
        ignored += loose
    for name, relative in folders.items():
        inner = [each for each in found_parts.folders.values() if f"{each}/".startswith(f"{relative}/")]
        if inner and relative not in inner:
            _class_folders(source, relative, ignored)  # what lies beside the inner folder
        elif not inner:
            part = parts.part_of(name)
            ignored.append((relative, f"no class folders, or not the only {part} part" if part else NO_PART))
            if part == "test" and not any(entries.folder_names(source, relative)):
                notes.append(_unlabelled(source, relative))
    by_class = _files_by_class(source, class_folders, ignored, notes)
    return replace(_listing(source, by_class, ignored), notes=tuple(notes))


def _unlabelled(source: Path, relative: str) -> str:
    """What to say of a test part in which no folder says what a photo is."""
    count = len(entries.images(source / relative))
    if not count:
        return f"{relative}/ has no class folders and is left out"
    later = f"predict them later: transferkit predict RUN {shlex.quote(str(source / relative))}"
    return f"{relative}/ has no class folders, so its photos ({count:,}) have no labels and are left out; {later}"


def _class_folders(source: Path, relative: str, ignored: Ignored) -> dict[str, str]:
    """NFC name to path relative to `source` of each folder in `relative`, by name; all else in it goes to `ignored`.

    Raises: DataError if two names are the same in NFC, or one is not valid Unicode.
    """
    found: dict[str, str] = {}
    for name, is_folder, _ in entries.of(source, relative, ignored):
        path = entries.join(relative, name)
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


def _files_by_class(
    source: Path, folders: dict[str, dict[str, str]], ignored: Ignored, notes: list[str]
) -> dict[str, dict[str, list[str]]]:
    """The files of each part's class folders and their sub-folders, relative to `source`, by NFC name.

    A class without files in a part that is not trained on is left out there, which goes to `notes`.

    Raises: DataError naming a class folder without files in one that is.
    """
    roots = [os.path.realpath(source / relative) for part in folders.values() for relative in part.values()]
    found: dict[str, dict[str, list[str]]] = {}
    for part, classes in folders.items():
        found[part], empty = {}, []
        for label, relative in classes.items():
            files = sorted(entries.files(source, relative, roots, ignored), key=entries.by_name)
            if files:
                found[part][label] = files
            elif part in ("", "train"):
                raise DataError(f"class folder {source / relative} holds no images; add some or remove it")
            else:
                empty.append(f"{relative}/")
        if empty:
            words = ", ".join(empty[:3]) + (f" and {len(empty) - 3} more" if len(empty) > 3 else "")
            notes.append(f"{words} {'holds' if len(empty) == 1 else 'hold'} no images")
    return found


def _require_folders(source: Path, folder: Path, class_folders: dict[str, str]) -> None:
    """Raises: DataError, with a hint, if there is no class folder in a folder of DATA, which is `source`."""
    if class_folders:
        return
    names, images = os.listdir(folder), entries.images(folder)
    found = f"it holds {len(images)} images directly" if images else "it holds other files" if names else "it is empty"
    advice = f"put the images of each class into a folder of its own: {folder.name}/CLASS/IMAGE"
    if images:
        advice += file_labels.advice(images)
    tables = list(dict.fromkeys(str(each / name) for each in (source, folder) for name in entries.tables(each)))
    if tables:
        advice += f"; if {' or '.join(tables[:3])} lists them with their labels, name that file instead"
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
