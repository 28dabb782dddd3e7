"""Tables called metadata beside the photos they describe, as Hugging Face's image folders have them.

Source: https://huggingface.co/docs/datasets/image_dataset#imagefolder
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from transferkit.data import columns, entries, table_text
from transferkit.data.hints import Hints
from transferkit.data.listing import Listing
from transferkit.data.parts import part_of
from transferkit.data.table import Images
from transferkit.zoo.errors import DataError
from transferkit.zoo.text import printable

NAMES = ("metadata.csv", "metadata.jsonl")
NOT_NAMED = "in no row of the metadata"

Tables = list[tuple[Path, str]]  # each with the part of its rows that name none


def find(source: Path, folders: Mapping[str, str], hints: Hints) -> Tables:
    """The tables of a folder, one of its own or one in each part; none if they have no labels and class folders do.

    Raises: DataError if it is not clear which of two counts.
    """
    own = _in(source)
    called = {relative: part_of(name) for name, relative in folders.items() if part_of(name)}
    inner = {relative: found for relative in called if (found := _in(source / relative))}
    if own and inner:
        raise DataError(f"{source} has {own.name}, and {next(iter(inner))}/ another; keep one, or those in the parts")
    tables = [(own, "")] if own else [(found, called[relative]) for relative, found in inner.items()]
    if hints.label_column is None and not all(_is_labelled(path) for path, _ in tables):
        inside = [entries.folder_names(source, relative) for relative in inner] if inner else [[*folders]]
        if all(len(names) > 1 for names in inside):
            return []  # captions beside class folders
    return tables


def read(source: Path, tables: Tables, hints: Hints) -> Listing:
    """The images that the tables name; others are left out, with a note. Raises: DataError, UsageError."""
    images = Images()
    for path, part in tables:
        images.add(path, hints, part=part)
    listing = images.listing(source, hints)
    ignored: entries.Ignored = []
    files = entries.files(source, "", [os.path.realpath(source)], ignored)
    named = {os.path.realpath(path) for path in images.paths}
    left = [path for path in files if entries.is_image(path) and os.path.realpath(source / path) not in named]
    notes = [f"labels are those of {', '.join(path.relative_to(source).as_posix() for path, _ in tables)}"]
    if left:
        notes.append(f"photos {NOT_NAMED} are left out: {len(left):,}, such as {printable(left[0])}")
    ignored += [(path, NOT_NAMED) for path in left]
    return replace(listing, ignored=tuple(ignored), notes=(*notes, *listing.notes))


def _in(folder: Path) -> Path | None:
    """The metadata of a folder. Raises: DataError if it has two."""
    found = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(found) > 1:
        raise DataError(f"{folder} has both {found[0].name} and {found[1].name}; keep one of them")
    return found[0] if found else None


def _is_labelled(path: Path) -> bool:
    """Whether a file is a table with labels; one that is no table is none, and is told so if it has to be read."""
    with contextlib.suppress(DataError):
        return columns.fit(table_text.read(path, fit=columns.fit).columns) == 2
    return False
