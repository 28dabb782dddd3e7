"""Files that are the same byte for byte: kept in one part where we divide, counted where they are in several."""

from collections.abc import Sequence

import numpy as np

from transferkit.data.listing import Listing
from transferkit.zoo.text import printable


def contents(sha256: Sequence[str]) -> np.ndarray:
    """A number for each file, the same for the same content. Shapes: sha256 (N,) -> (N,)."""
    return np.unique(np.asarray(sha256, "S64"), return_inverse=True)[1]


def together(groups: np.ndarray | None, contents: np.ndarray) -> np.ndarray | None:
    r"""`groups` in which the same files are in one group, joined where they share a file; None if there are none.

    Shapes: groups (N,) of names, "" for no group, contents (N,) -> (N,).

    >>> together(None, np.array([7, 8, 7])).tolist()
    ['\x1ffile 7', '', '\x1ffile 7']
    """
    _, content_of, counts = np.unique(contents, return_inverse=True, return_counts=True)
    is_copied = counts[content_of] > 1
    if not is_copied.any():
        return groups
    files = np.where(is_copied, np.char.add("\x1ffile ", contents.astype(str)), "")
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


def seen(parts: np.ndarray, contents: np.ndarray) -> np.ndarray:
    """Which test images are also training or validation images, and which validation images are also training images.

    Shapes: parts (N,), contents (N,) -> (N,) bool.
    """
    found = np.zeros(len(parts), bool)
    for part, earlier in (("val", ["train"]), ("test", ["train", "val"])):
        rows = parts == part
        found[rows] = np.isin(contents[rows], contents[np.isin(parts, earlier)])
    return found


def contradictions(labels: np.ndarray, contents: np.ndarray) -> list[np.ndarray]:
    """The rows of each file that lies under more than one label, in the order of the rows.

    Shapes: labels (N,), a number for each, contents (N,).
    """
    pairs = np.unique(np.stack([contents, labels], 1), axis=0)[:, 0]  # each content once for each of its labels
    wrong = np.unique(pairs[1:][pairs[1:] == pairs[:-1]])
    rows = np.flatnonzero(np.isin(contents, wrong))
    rows = rows[np.argsort(contents[rows], kind="stable")]
    same = np.split(rows, np.flatnonzero(np.diff(contents[rows])) + 1) if len(rows) else []
    return sorted(same, key=lambda rows: rows[0])


def lines(listing: Listing, contents: np.ndarray) -> list[str]:
    """What to say of the same files in two parts, each with the first of them; then what `contradiction` says."""
    found, said = seen(listing.parts, contents), []
    for part, name in (("val", "validation"), ("test", "test")):
        rows = np.flatnonzero(found & (listing.parts == part))
        if len(rows):
            earlier = np.isin(listing.parts, ["train"] if part == "val" else ["train", "val"])
            twin = int(next(row for row in np.flatnonzero(earlier) if contents[row] == contents[rows[0]]))
            others = "training" if part == "val" else "training or validation"
            total = np.count_nonzero(listing.parts == part)
            counts = f"{len(rows):,} of {total:,} {name} images"
            said.append(f"{counts} are copies of {others} images: {_pair(listing, rows[0], twin)}")
    return said + contradiction(listing, contents)


def contradiction(listing: Listing, contents: np.ndarray) -> list[str]:
    """A line on the files that lie under two labels, with the first of them; none if there are none."""
    labels = listing.task.sets(listing.labels)
    found = contradictions(labels, contents)
    if not found:
        return []
    first = found[0][0]
    other = next(row for row in found[0] if labels[row] != labels[first])
    is_one = len(found) == 1
    if listing.task.names_one:
        lie = "file lies" if is_one else "files lie"
        words = f"{lie} under more than one label, and all but one of these are wrong"
    else:
        words = f"{'file has' if is_one else 'files have'} other labels each time, and all but one are wrong"
    return [f"{len(found):,} identical {words}: {_pair(listing, first, other)}"]


def _pair(listing: Listing, row: int, twin: int) -> str:
    return f"{printable(listing.relative(row))} is {printable(listing.relative(twin))}"
