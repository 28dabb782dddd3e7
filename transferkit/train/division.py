"""The images of a first pass, each with its part: what belongs together is never divided by us."""

from dataclasses import replace

from transferkit.data import copies
from transferkit.progress import Progress
from transferkit.train.first_pass import FirstPass
from transferkit.zoo.errors import DataError


def divide(taken: FirstPass, *, fraction: float, seed: int, progress: Progress) -> FirstPass:
    """The images each with its part and group; copies, near copies and bursts that DATA divides are said.

    Where everything is a near copy of something, and nothing could validate, only copies of one file stay together.

    Raises: DataError if there are too few to validate on.
    """
    listing = taken.listing
    for groups in (taken.groups, replace(taken, pairs=()).groups):
        parts = listing.task.assign_parts(listing.labels, listing.parts, fraction=fraction, seed=seed, groups=groups)
        if (parts == "val").any():
            break
        if taken.pairs:
            progress.say("near copies join so many images that none could validate: they are divided like others")
    else:
        raise DataError("too few images to validate on: at least one class needs 2 readable images that differ")
    listing = replace(listing, parts=parts, groups=groups)
    for line in copies.lines(listing, taken.contents, taken.pairs):
        progress.say(line)
    return replace(taken, listing=listing)
