"""Groups of images by what their paths or a column of their CSV say."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from transferkit.data import copies
from transferkit.data.listing import Listing
from transferkit.zoo.errors import UsageError
from transferkit.zoo.text import printable


def by_pattern(listing: Listing, pattern: str, *, columns: Sequence[str] = ()) -> Listing:
    """The listing with images in one group where `pattern` finds the same in their paths relative to DATA.

    That is the pattern's first group in brackets, or all that it matches; where it finds nothing, an image stands
    alone. Groups that the listing has are joined with these.

    Args: columns, those of the CSV, none of which is called so.
    Raises: UsageError if it is no regular expression, or matches no path.
    """
    shown = printable(repr(pattern))
    no_column = f"no column of {listing.source}, which has {printable(', '.join(columns))}, and " if columns else ""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--group-by {shown} is {no_column}no regular expression: {error}") from error
    matches = [compiled.search(listing.relative(row)) for row in range(len(listing.labels))]
    names = [(match[1] if compiled.groups else match[0]) or "" if match else "" for match in matches]
    if not any(names):
        first = printable(listing.relative(0))
        raise UsageError(f"--group-by {shown} is {no_column}found in no path, such as {first}")
    return by_names(listing, names)


def by_names(listing: Listing, names: Sequence[str]) -> Listing:
    """The listing with images of one name in one group, "" for none; groups that it has are joined with these."""
    given = np.array(names)
    unique, number = np.unique(given, return_inverse=True)
    alone = given == ""
    number[alone] = len(unique) + np.arange(int(alone.sum()))
    groups = given if listing.groups is None else copies.together(listing.groups, number)
    count, loose = len({*names} - {""}), int(alone.sum())
    note = f"--group-by: {len(names) - loose:,} images in {count:,} groups" + (f", {loose:,} in none" if loose else "")
    if count == 1 and not loose:
        raise UsageError(f"--group-by puts all {len(names):,} images into one group, which cannot be divided")
    return replace(listing, groups=groups, notes=(*listing.notes, note))
