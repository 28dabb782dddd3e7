"""What comes before training: options checked and images found here, without torch; the rest in `preparation`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit import caches, messages
from transferkit import config as configs
from transferkit.choices import BEST
from transferkit.config import FinetuneConfig
from transferkit.data import folder
from transferkit.data.hints import Hints
from transferkit.data.listing import Listing
from transferkit.progress import Progress

if TYPE_CHECKING:
    from transferkit.preparation import Prepared


def prepare(
    data: str | Path | None = None,
    *,
    config_file: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> "Prepared":
    """All that can be known before an image is decoded; takes the arguments of `finetune`.

    Writes to the cache alone, and beside shards what is in them.

    Raises: UsageError, DataError, ModelFileError, NetworkError.
    """
    progress = progress or Progress()
    config, listing = found(data, config_file=config_file, progress=progress, **options)
    config = with_depth(config, listing, progress)
    from transferkit import preparation  # after the data is found: torch takes seconds to import

    if config.test_fraction:
        from transferkit import holdout

        listing = holdout.set_aside(config, listing, progress)
    if config.backbone == BEST:
        from transferkit import ranking

        config = replace(config, backbone=ranking.best(config, listing, progress))
    return preparation.complete(config, listing, progress)


def found(
    data: str | Path | None, *, config_file: str | Path | None = None, progress: Progress, **options: Any
) -> tuple[FinetuneConfig, Listing]:
    """The options, checked, and the images, of which none is opened. Raises: UsageError, DataError."""
    config = configs.make(data, options, file=config_file)
    hints = Hints(group_by=config.group_by, label_column=config.label_column, label_from=config.label_from)
    listing = folder.read(config.data, hints, cache=caches.folder_of(config), progress=progress)
    listing.task.check(config)
    _say(listing, progress)
    return config, listing


def with_depth(config: FinetuneConfig, listing: Listing, progress: Progress) -> FinetuneConfig:
    """The options, with the bits of 16-bit images whose largest value is small, unless the user has named them."""
    if config.bit_depth is not None:
        return config
    from transferkit.data import depth_search  # after the data is found: numpy

    seen = depth_search.search(listing.paths, progress)
    if seen is None:
        return config
    progress.say(
        f"{seen.images:,} images are files of 16 bits without a value above {seen.largest:,}: read as values of "
        f"{seen.bits} bits; say --bit-depth 16 if they are so dark"
    )
    return replace(config, bit_depth=seen.bits)


def _say(listing: Listing, progress: Progress) -> None:
    """Say what was found."""
    counts = listing.task.counts(listing.labels, len(listing.classes)).tolist()
    messages.found(
        dict(zip(listing.classes, counts)),
        images=len(listing.labels),
        notes=listing.notes,
        ignored=listing.ignored,
        progress=progress,
    )
