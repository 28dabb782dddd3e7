"""What tests/data/test_worker_pool.py gives to workers, which import this file: so it imports no torch."""

import time

import numpy as np

from transferkit import seeds
from transferkit.data import known
from transferkit.data.photos import Photos
from transferkit.zoo.card import Preprocessing
from transferkit.zoo.errors import UsageError

PREPROCESSING = Preprocessing(size_px=(16, 24))


class Impatient(Photos):
    """Remembers files that were just changed, too."""

    def read(self, path):
        known.MARGIN_NS = 0
        return super().read(path)


class Slow:
    """An augmentation that leaves a mark and then takes its time over row 1."""

    def __init__(self, inner, mark):
        self.inner, self.mark, self.preprocessing = inner, mark, inner.preprocessing

    def start(self):
        self.inner.start()

    def __call__(self, photo, *, seed):
        if np.asarray(photo).shape[1] == 21:
            self.mark.touch()
            time.sleep(60)
        return self.inner(photo, seed=seed)


class Broken:
    """An augmentation that fails."""

    preprocessing = PREPROCESSING

    def start(self):
        pass

    def __call__(self, photo, *, seed):
        if seed == seeds.integer(0, "augment", 0, 0):
            raise UsageError("augmentation broken.json failed")
        raise KeyError("a bug")
