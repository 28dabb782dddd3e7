"""Photos that are the same or nearly so: kept in one part where we divide, counted where they are in several."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferkit.data.listing import Listing
from transferkit.zoo.text import printable

NEAR_COPY, BURST = "near copy", "burst"


@dataclass(frozen=True)
class Pair:
    """Two images by their rows, `row` < `twin`, that are no copies of one file; kind, `NEAR_COPY` or `BURST`."""

    row: int
    twin: int
    kind: str


class _Sets:
    """Names, or numbers, that stand for the same: each has one that stands for all of its set."""

    def __init__(self):
        self._above: dict[Any, Any] = {}

    def root(self, name: Any) -> Any:
        """What stands for the set of a name."""
        while (above := self._above.get(name, name)) != name:
            self._above[name] = self._above.get(above, above)  # the next time the way is shorter
            name = above
        return name

    def join(self, first: Any, second: Any) -> None:
        """Make one set of two; what stands for the first stands for both."""
        first, second = self.root(first), self.root(second)
        if first != second:
            self._above[second] = first


def contents(sha256: Sequence[str]) -> np.ndarray:
    """A number for each file, the same for the same content. Shapes: sha256 (N,) -> (N,)."""
    return np.unique(np.asarray(sha256, "S64"), return_inverse=True)[1]


def families(contents: np.ndarray, pairs: Iterable[Pair]) -> np.ndarray:
    """A number for each image, the same for copies of one file and for what `pairs` join with them.

    Shapes: contents (N,) -> (N,).

    >>> families(np.array([7, 8, 7, 9]), [Pair(1, 2, NEAR_COPY)]).tolist()
    [0, 0, 0, 1]
    """
    sets, pairs = _Sets(), list(pairs)
    if not pairs:
        return np.unique(contents, return_inverse=True)[1]
    for pair in pairs:
        sets.join(int(contents[pair.row]), int(contents[pair.twin]))
    found = np.array([sets.root(int(number)) for number in contents], np.int64)
    return np.unique(found, return_inverse=True)[1]


def together(groups: np.ndarray | None, contents: np.ndarray) -> np.ndarray | None:
    """`groups` in which copies are in one group, joined where they share an image; None if there are none.

    Shapes: groups (N,) of names, "" for no group, contents (N,), a number for each -> (N,).

    >>> together(None, np.array([7, 8, 7])).tolist()
    ['copies 7', '', 'copies 7']
    """
    _, content_of, counts = np.unique(contents, return_inverse=True, return_counts=True)
    is_copied = counts[content_of] > 1
    if not is_copied.any():
        return groups
    word = "copies "
    while groups is not None and np.char.startswith(groups.astype(str), word).any():
        word = f"more {word}"
    files = np.where(is_copied, np.char.add(word, contents.astype(str)), "")
    if groups is None:
        return files
    sets = _Sets()
    for file, group in zip(files, groups):
        if file and group:
            sets.join(str(group), str(file))
    return np.array([sets.root(str(group or file)) for file, group in zip(files, groups)])


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


def lines(listing: Listing, contents: np.ndarray, pairs: Sequence[Pair] = ()) -> list[str]:
    """What to say of the same photos in two parts and under two labels, each with the first of them."""
    near = families(contents, [pair for pair in pairs if pair.kind == NEAR_COPY])
    said = []
    for part, name in (("val", "validation"), ("test", "test")):
        is_earlier = np.isin(listing.parts, ["train"] if part == "val" else ["train", "val"])
        others = "training" if part == "val" else "training or validation"
        rows = np.flatnonzero(seen(listing.parts, near) & (listing.parts == part))
        if len(rows):
            row, twin = _first(rows, is_earlier, contents, near)
            what = "copies" if seen(listing.parts, contents)[rows].all() else "copies or near copies"
            counts = f"{len(rows):,} of {np.count_nonzero(listing.parts == part):,} {name} images"
            said.append(f"{counts} are {what} of {others} images: {_pair(listing, contents, row, twin)}")
        series = families(contents, pairs)
        rows = np.flatnonzero(seen(listing.parts, series) & ~seen(listing.parts, near) & (listing.parts == part))
        if len(rows):
            row, twin = _first(rows, is_earlier, contents, series)
            names = f"{printable(listing.relative(row))} and {printable(listing.relative(twin))}"
            said.append(f"{len(rows):,} {name} images are of one burst with {others} images: {names}")
    kept = _kept_line(listing, contents, pairs)
    return kept + said + contradiction(listing, contents) + _other(listing, contents, near)


def _kept_line(listing: Listing, contents: np.ndarray, pairs: Sequence[Pair]) -> list[str]:
    """A line on the near copies and bursts that are in one part, with the first of them; none if there are none."""
    own = [pair for pair in pairs if listing.parts[pair.row] == listing.parts[pair.twin]]
    if not own:
        return []
    count = len({row for pair in own for row in (pair.row, pair.twin)})
    first = min(own, key=lambda pair: (pair.kind != NEAR_COPY, pair.row, pair.twin))
    words = "are near copies" if first.kind == NEAR_COPY else "are of one burst with another"
    return [f"{count:,} photos {words}, kept in one part: {_pair(listing, contents, first.row, first.twin)}"]


def _first(rows: np.ndarray, is_earlier: np.ndarray, contents: np.ndarray, numbers: np.ndarray) -> tuple[int, int]:
    """The first of `rows` and an earlier row of its number, of the same file if there is one."""
    row = int(rows[0])
    twins = np.flatnonzero(is_earlier & (numbers == numbers[row]))
    return row, int(twins[np.argmax(contents[twins] == contents[row])])


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
    return [f"{len(found):,} identical {words}: {_pair(listing, contents, first, other)}"]


def _other(listing: Listing, contents: np.ndarray, near: np.ndarray) -> list[str]:
    """A line on the near copies that have other labels than each other, files that are the same left out."""
    labels = listing.task.sets(listing.labels)
    found = [rows for rows in contradictions(labels, near) if len(np.unique(contents[rows])) > 1]
    if not found:
        return []
    first = found[0][0]
    other = next(row for row in found[0] if labels[row] != labels[first])
    photos = "photo has" if len(found) == 1 else "photos have"
    return [f"{len(found):,} {photos} near copies with other labels: {_pair(listing, contents, first, other)}"]


def _pair(listing: Listing, contents: np.ndarray, row: int, twin: int) -> str:
    word = "is" if contents[row] == contents[twin] else "is nearly"
    return f"{printable(listing.relative(row))} {word} {printable(listing.relative(twin))}"
