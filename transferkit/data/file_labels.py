"""Labels in the paths of photos, such as `cat.0.jpg`: by a pattern that the user gives, or that is suggested."""

import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from transferkit.data import entries, parts
from transferkit.data.entries import Ignored
from transferkit.data.listing import Listing, PathTable, class_name
from transferkit.zoo.errors import UsageError
from transferkit.zoo.text import printable

USUAL = (  # each with the class in brackets, which holds a letter
    r"([^/]*[^\W\d_][^/]*?)[ ._-]*\(?\d+\)?\.\w+$",  # cat.0.jpg, dog_12.png, bird (3).jpg
    r"(?:^|/)\d+[ ._-]+([^/]*[^\W\d_][^/]*)\.\w+$",  # 0012_cat.jpg
    r"(?:^|/)([^\W\d_][^/._-]*)[._-][^/]+$",  # cat_a3f.jpg
)
FITS = 0.95  # of the photos, at least, must a suggested pattern find a class in
LEAST_EACH = 2  # photos a class in the mean, or it is no class that the pattern finds
SHOWN = 5
NOT_CALLED_SO = "not called as an image is"
NOT_FOUND = "--label-from finds nothing in its path"


def read(source: Path, pattern: str) -> Listing:
    """All photos of a folder, the class of each what `pattern` finds in its path relative to the folder.

    That is the pattern's first group in brackets, or all that it matches; photos where it finds nothing are left out,
    with a note. Folders called like parts are parts where every photo lies in one.

    Raises: UsageError if it is no regular expression, or finds a class in no path.
    """
    shown = printable(repr(pattern))
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--label-from {shown} is no regular expression: {error}") from error
    ignored: Ignored = []
    files = sorted(entries.files(source, "", [os.path.realpath(source)], ignored), key=entries.by_name)
    photos = [path for path in files if entries.is_image(path)]
    ignored += [(path, NOT_CALLED_SO) for path in files if not entries.is_image(path)]
    labels = [_label(compiled, path) for path in photos]
    if not any(labels):
        such = f", such as {printable(photos[0])}" if photos else ""
        raise UsageError(f"--label-from {shown} finds a class in none of the {len(photos):,} photos of {source}{such}")
    found = [(path, class_name(label, source / path)) for path, label in zip(photos, labels) if label]
    missed = [path for path, label in zip(photos, labels) if not label]
    ignored += [(path, NOT_FOUND) for path in missed]
    of_each, notes = parts.by_first_folder([path for path, _ in found]), []
    if missed:
        words = f"{len(missed):,}, such as {printable(missed[0])}"
        notes.append(f"photos in which --label-from finds no class are left out: {words}")
    if any(of_each):
        notes.append(f"folders taken as parts: {', '.join(sorted({*of_each}))}")
    classes = sorted({label for _, label in found})
    number = {label: index for index, label in enumerate(classes)}
    return Listing(
        source=source,
        paths=PathTable.from_paths(os.path.join(source, path) for path, _ in found),
        labels=np.array([number[label] for _, label in found], np.int64),
        parts=np.array(of_each, "<U5"),
        classes=tuple(classes),
        ignored=tuple(ignored),
        notes=tuple(notes),
    )


def advice(names: Sequence[str]) -> str:
    """What to do where the labels may be in the names of files: which pattern finds which classes, if one does."""
    for pattern in USUAL:
        labels = [_label(re.compile(pattern), name) for name in names]
        counts = Counter(label for label in labels if label)
        if counts.total() >= FITS * len(names) and 2 <= len(counts) <= len(names) / LEAST_EACH:
            most = ", ".join(f"{printable(label)} ({count})" for label, count in counts.most_common(SHOWN))
            more = ", ..." if len(counts) > SHOWN else ""
            return f"; if their labels are in the file names, --label-from {shlex.quote(pattern)} finds {most}{more}"
    return "; if their labels are in the file names, say where with --label-from REGEX, or list them in a CSV"


def _label(pattern: re.Pattern[str], path: str) -> str:
    match = pattern.search(path)
    return ((match[1] if pattern.groups else match[0]) or "").strip() if match else ""
