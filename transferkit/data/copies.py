"""Files that are the same byte for byte: kept in one part where we divide, counted where they are in several."""

from collections.abc import Sequence

import numpy as np

from transferkit.data.listing import Listing
from transferkit.zoo.text import printable


def together(groups: np.ndarray | None, sha256: Sequence[str]) -> np.ndarray | None:
    """`groups` in which the same files are in one group, joined where they share a file; None if there are none.

    Shapes: groups (N,) of names, "" for no group, sha256 (N,) -> (N,).

    >>> together(None, ["a", "b", "a"]).tolist()
    ['file a', '', 'file a']
    """
    digests, digest_of, counts = np.unique(np.asarray(sha256, str), return_inverse=True, return_counts=True)
    if not (counts > 1).any():
        return groups
    files = np.where(counts[digest_of] > 1, np.char.add("file ", digests[digest_of]), "")
    if groups is None:
        return files
    joined: dict[str, str] = {}  # a name to one that stands for it

    def root(name: str) -> str:
        while name in joined:
            name = joined[name]
        return name

    for file, group in zip(files, groups):
        if file and group and root(file) != root(group):
            joined[root(file)] = root(group)
    return np.array([root(str(group or file)) for file, group in zip(files, groups)])


def seen(parts: np.ndarray, sha256: Sequence[str]) -> np.ndarray:
    """Which test images are also training or validation images, and which validation images are also training images.

    Shapes: parts (N,), sha256 (N,) -> (N,) bool.
    """
    digests, found = np.asarray(sha256, str), np.zeros(len(parts), bool)
    for part, earlier in (("val", ["train"]), ("test", ["train", "val"])):
        rows = parts == part
        found[rows] = np.isin(digests[rows], digests[np.isin(parts, earlier)])
    return found


def contradictions(labels: np.ndarray, sha256: Sequence[str]) -> list[np.ndarray]:
    """The rows of each file that lies under more than one label, in the order of the rows."""
    order = np.argsort(np.asarray(sha256, str), kind="stable")
    digests = np.asarray(sha256, str)[order]
    same = np.split(order, np.flatnonzero(digests[1:] != digests[:-1]) + 1)
    return sorted((rows for rows in same if len(set(labels[rows])) > 1), key=lambda rows: rows[0])


def lines(listing: Listing, sha256: Sequence[str]) -> list[str]:
    """What to say of the same files in two parts, each with the first of them; then what `contradiction` says."""
    found, said = seen(listing.parts, sha256), []
    for part, name in (("val", "validation"), ("test", "test")):
        rows = np.flatnonzero(found & (listing.parts == part))
        if len(rows):
            earlier = np.isin(listing.parts, ["train"] if part == "val" else ["train", "val"])
            twin = next(row for row in np.flatnonzero(earlier) if sha256[row] == sha256[rows[0]])
            others = "training" if part == "val" else "training or validation"
            total = np.count_nonzero(listing.parts == part)
            counts = f"{len(rows):,} of {total:,} {name} images"
            said.append(f"{counts} are copies of {others} images: {_pair(listing, rows[0], twin)}")
    return said + contradiction(listing, sha256)


def contradiction(listing: Listing, sha256: Sequence[str]) -> list[str]:
    """A line on the files that lie under two labels, with the first of them; none if there are none."""
    found = contradictions(listing.labels, sha256)
    if not found:
        return []
    first = found[0][0]
    other = next(row for row in found[0] if listing.labels[row] != listing.labels[first])
    lie = "file lies" if len(found) == 1 else "files lie"
    words = f"{len(found):,} identical {lie} under more than one label, and all but one of these are wrong"
    return [f"{words}: {_pair(listing, first, other)}"]


def _pair(listing: Listing, row: int, twin: int) -> str:
    return f"{printable(listing.relative(row))} is {printable(listing.relative(twin))}"
