"""Whether there is something to learn from a listing."""

from pathlib import Path

import numpy as np

from transferkit.data import entries
from transferkit.data.listing import Listing
from transferkit.zoo.errors import DataError


def check(listing: Listing) -> None:
    """Raises: DataError if there are too few classes, or one has no image outside val and test."""
    if len(listing.classes) < listing.task.least_classes:
        has = f"one class ({listing.classes[0]!r})" if listing.classes else "no label"
        least = listing.task.least_classes
        raise DataError(f"{listing.source} has {has}; at least {least} are needed{_nesting_hint(listing)}")
    can_train = (listing.parts == "train") | (listing.parts == "")
    counts = listing.task.counts(listing.labels[can_train], len(listing.classes))
    missing = [repr(listing.classes[i]) for i in np.flatnonzero(counts == 0)]
    if missing:
        names = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise DataError(f"{listing.source} has classes without a training image: {names}; val and test may not add any")
    if (counts == np.count_nonzero(can_train)).all():
        raise DataError(f"{listing.source} has every label on every image: there is nothing to tell apart")


def _nesting_hint(listing: Listing) -> str:
    """Words for someone who gave the folder above the right one."""
    source = Path(listing.source)
    if not source.is_dir() or listing.parts[0]:
        return ""
    steps = [listing.relative(row).split("/") for row in range(len(listing.paths))]
    inner = {names[1] for names in steps if len(names) > 2}
    if len(inner) > 1:
        return f"; did you mean {source / steps[0][0]}, which holds {len(inner)} folders?"
    tables = [str(source / name) for name in entries.tables(source)]
    return f"; did you mean {' or '.join(tables[:3])}, if that lists the images with their labels?" if tables else ""
