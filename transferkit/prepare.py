"""What comes before training: options checked and images found here, without torch; the rest in `preparation`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit import caches, messages
from transferkit import config as configs
from transferkit.data import folder
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
    config, progress = configs.make(data, options, file=config_file), progress or Progress()
    listing = folder.read(config.data, cache=caches.folder_of(config), progress=progress)
    listing.task.check(config)
    _say(listing, progress)
    from transferkit import preparation  # after the data is found: torch takes seconds to import

    return preparation.complete(config, listing, progress)


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
