"""Features kept while they are computed: a first pass that is killed has lost its last seconds, not its hours."""

import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from transferkit.data.photos import Photos
from transferkit.model.features import Extractor, Features

EVERY_SECONDS = 20.0


class Keeping:
    """Keeps the features of the images that go through, a file every `EVERY_SECONDS`; `merge` makes one file of them.

    Args: hashes (N,), filled in before an image is computed; fitted (N,) whether a head is fitted to it.
    """

    def __init__(self, extractor: Extractor, photos: Photos, features: Features, *, hashes: np.ndarray, fitted):
        self._extractor, self._photos, self._features = extractor, photos, features
        self._hashes, self._fitted = hashes, fitted
        self._rows: list[np.ndarray] = []
        self._since = time.monotonic()
        self.pieces: list[str] = []

    def computed(self, rows: np.ndarray) -> None:
        """The features of `rows` are there."""
        self._rows.append(rows)
        if time.monotonic() - self._since >= EVERY_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Write what is not written yet."""
        rows = np.concatenate([*self._rows, np.empty(0, np.int64)])
        # an image of more than 8 bits may be of a part that is dim, of which nothing is kept
        rows = rows[[self._hashes[row] not in self._photos.largest for row in rows]]
        self._photos.remember()
        written = self._extractor.keep(self._features.subset(rows), self._hashes[rows], fitted=self._fitted[rows])
        self.pieces += map(str, written)
        self._rows, self._since = [], time.monotonic()

    def merge(self, rows: np.ndarray, pieces: Iterable[str]) -> None:
        """Keep those of `rows`, all of the pass, in one file for all `pieces`; these stay where there is no room."""
        written = self._extractor.keep(self._features.subset(rows), self._hashes[rows], fitted=self._fitted[rows])
        if written or not len(rows):
            for path in {*map(Path, pieces)} - {*written}:
                path.unlink(missing_ok=True)
