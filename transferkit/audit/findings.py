"""What an audit has found, and what of it a person should decide on, image by image."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferkit.audit.cues import Cues
from transferkit.audit.shortcuts import Shortcut
from transferkit.audit.suspects import Suspects
from transferkit.data.copies import NEAR_COPY, Pair
from transferkit.data.listing import Listing
from transferkit.train.first_pass import FirstPass
from transferkit.zoo.text import printable

KEEP, REMOVE, LABEL = "keep", "remove", "label:"  # what may be done with an image
LATER = {"": 0, "train": 1, "val": 2, "test": 3}  # of two parts, the one whose copy is to go


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An image to decide on: its row in the listing, what is wrong in words, and what to do, `REMOVE` or a label."""

    row: int
    words: str
    suggestion: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """What was found in a data set.

    Fields: every, all images listed; taken, those that can be read, in the parts that were given; suspects, None where
    no fit could judge; cues and shortcuts, of those that can be read; notes on what was left out; backbone, whose
    features judge.
    """

    every: Listing
    taken: FirstPass
    suspects: Suspects | None
    cues: Cues
    shortcuts: list[Shortcut]
    notes: tuple[str, ...]
    backbone: str

    @property
    def listing(self) -> Listing:
        """The images that can be read."""
        return self.taken.listing

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The near copies and bursts among them."""
        return self.taken.pairs

    def label(self, row: int) -> str:
        """The label of a readable image, as a CSV has it."""
        return self.listing.task.text(self.listing.labels[row], self.listing.classes)

    def copies(self) -> list[np.ndarray]:
        """The rows of each file that is there more than once, first the one to keep, in the order of these."""
        contents, suspicion = self.taken.contents, self._suspicion()
        later = np.array([LATER[part] for part in self.listing.parts.tolist()])
        order = np.lexsort((np.arange(len(contents)), suspicion, later, contents))
        edges = np.flatnonzero(np.diff(contents[order])) + 1
        found = [rows for rows in np.split(order, edges) if len(rows) > 1]
        return sorted(found, key=lambda rows: rows[0])

    def is_contradiction(self, *rows: int) -> bool:
        """Whether images have not all the same label."""
        return len({self.label(row) for row in rows}) > 1

    def crosses(self, *rows: int) -> bool:
        """Whether images lie in several of the given parts."""
        return len({*self.listing.parts[list(rows)].tolist()}) > 1

    def empty(self) -> list[int]:
        """The rows of photos that are nearly one colour."""
        return np.flatnonzero(self.cues.is_empty).tolist()

    def unread(self) -> list[tuple[int, str]]:
        """The rows, in `every`, of files that cannot be read, and why."""
        reasons = dict(self.taken.quarantine)
        if not reasons:
            return []
        names = {self.every.relative(row): row for row in range(len(self.every.labels))}
        return [(names[path], reason) for path, reason in reasons.items() if path in names]

    def problems(self) -> list[Problem]:
        """All to decide on, of readable images, the worst first; an image stands once, with all that is wrong."""
        merged: dict[int, Problem] = {}
        for _, each in sorted(self._problems(), key=lambda found: found[0]):
            if each.row in merged:
                first = merged[each.row]
                suggestion = first.suggestion or each.suggestion
                each = Problem(row=each.row, words=f"{first.words}; {each.words}", suggestion=suggestion)
            merged[each.row] = each
        return list(merged.values())

    def _problems(self) -> Iterator[tuple[int, Problem]]:
        """Each with how bad its kind is, 0 the worst."""
        for keep, *others in self.copies():
            for row in others:
                words = f"the same file as {self._named(keep, row)}"
                is_worse = self.is_contradiction(keep, row) or self.crosses(keep, row)
                yield 0 if is_worse else 3, Problem(row=int(row), words=words, suggestion=REMOVE)
            if self.is_contradiction(keep, *others):
                other = next(row for row in others if self.is_contradiction(keep, row))
                words = f"the same file as {self._named(other, keep)}"
                yield 0, Problem(row=int(keep), words=words, suggestion=KEEP)
        for pair in self.pairs:
            if pair.kind != NEAR_COPY or not (
                self.is_contradiction(pair.row, pair.twin) or self.crosses(pair.row, pair.twin)
            ):
                continue
            keep, row = sorted((pair.row, pair.twin), key=lambda row: LATER[str(self.listing.parts[row])])
            suggestion = REMOVE if self.crosses(keep, row) else ""
            yield 1, Problem(row=row, words=f"nearly the same as {self._named(keep, row)}", suggestion=suggestion)
        if self.suspects:
            for place in self.suspects.suspected.tolist():
                yield 2, self._suspect(self.suspects, place)
        for row in self.empty():
            yield 4, Problem(row=row, words="nearly one colour", suggestion=REMOVE)

    def _suspect(self, suspects: Suspects, place: int) -> Problem:
        row, label = int(suspects.rows[place]), self.suggested(place)
        own, other = (f"{100 * each[place]:.1f} %" for each in (suspects.own, suspects.other))
        if self.listing.task.names_one:
            words = f"label suspected: {other} for {printable(label)}, {own} for {printable(self.label(row))}"
        else:
            words = f"labels suspected: {other} against one of them, {own} for it"
        return Problem(row=row, words=words, suggestion=f"{LABEL}{label}")

    def suggested(self, place: int) -> str:
        """What the label of a suspect would be."""
        return self.listing.task.text(self._judged().labels[place], self.listing.classes)

    def _judged(self) -> Suspects:
        if self.suspects is None:
            raise ValueError("no fit has judged the labels")
        return self.suspects

    def _suspicion(self) -> np.ndarray:
        """Of each readable image; 0 where it was not judged. Shape (N,)."""
        found = np.zeros(len(self.listing.labels))
        if self.suspects:
            found[self.suspects.rows] = self.suspects.suspicion
        return found

    def _named(self, other: int, row: int) -> str:
        """The path of an image beside another, with its label where that differs, and its part."""
        about = [f"labelled {printable(self.label(other))}"] if self.is_contradiction(other, row) else []
        about += [f"in {self.listing.parts[other]}"] if self.crosses(other, row) and self.listing.parts[other] else []
        return printable(self.listing.relative(int(other))) + (f" ({', '.join(about)})" if about else "")


def counts(found: Findings) -> dict[str, Any]:
    """How many of each kind there are, by the names that audit.json has."""
    copies = found.copies()
    near = [pair for pair in found.pairs if pair.kind == NEAR_COPY]
    bursts = len(found.pairs) - len(near)
    return {
        "unreadable": len(found.taken.quarantine),
        "copies": sum(len(rows) - 1 for rows in copies),
        "copies_across_parts": sum(found.crosses(*rows) for rows in copies),
        "copies_across_labels": sum(found.is_contradiction(*rows) for rows in copies),
        "near_copies": len(near),
        "near_copies_across_parts": sum(found.crosses(pair.row, pair.twin) for pair in near),
        "near_copies_across_labels": sum(found.is_contradiction(pair.row, pair.twin) for pair in near),
        "bursts": bursts,
        "suspected_labels": len(found.suspects.suspected) if found.suspects else None,
        "nearly_one_colour": len(found.empty()),
        "shortcuts": sum(each.is_strong for each in found.shortcuts),
    }
