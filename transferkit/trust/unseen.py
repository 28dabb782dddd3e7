"""What a classifier says of images that no fit behind the answer has seen: by these, several are calibrated together.

Answers to images that members were fitted to are surer than those to new ones, and test images choose nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST = 4000  # images that are kept


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """Answers to images, each by a fit that has not seen the image.

    Fields: hashes, the sha256 of the files; labels; logits, as shipped; is_refitted, whether what ships was fitted once
    more, to these images too.

    Shapes: hashes (n, 32) uint8, labels (n, ...), logits (n, K).
    """

    hashes: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    is_refitted: bool


def kept(sha256: Sequence[str], labels: np.ndarray, logits: np.ndarray, *, is_refitted: bool) -> Unseen:
    """Of the images with those hashes all, or `MOST` of them, evenly."""
    chosen = [int(row) for row in np.linspace(0, len(labels) - 1, min(MOST, len(labels))).round()]
    digests = b"".join(bytes.fromhex(sha256[row]) for row in chosen)
    hashes = np.frombuffer(digests, np.uint8).reshape(len(chosen), -1)
    return Unseen(hashes=hashes, labels=labels[chosen], logits=logits[chosen], is_refitted=is_refitted)


def common(members: Sequence[Unseen]) -> list[np.ndarray]:
    """Which rows of each are the same images, in the same order; an image that lies there twice counts once."""
    rows = [{bytes(digest): row for row, digest in enumerate(each.hashes)} for each in members]
    shared = sorted(set(rows[0]).intersection(*rows[1:]))
    return [np.array([each[digest] for digest in shared], int) for each in rows]
