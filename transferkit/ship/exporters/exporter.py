"""What a line of the table of exporters says, what is asked of one, and what it answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transferkit.ship.exporters.sample import Labelled, Sample

COMPARED = "compared_with_transferkit"  # the key in metadata and records
ONE_BY_ONE = "export its members one by one: MODEL/members/0 and so on"  # what to do of an ensemble


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked of an exporter.

    Fields: sample, the photos on which answers are compared; core, whether a graph takes views, after resize and crop,
    in place of photos; int8, the labelled photos for a graph of 8-bit integers, None for one of floats.
    """

    sample: "Sample"
    core: bool = False
    int8: "Labelled | None" = None

    @property
    def options(self) -> list[str]:
        """Which options were given that not every exporter has."""
        return [name for name, is_given in (("core", self.core), ("int8", self.int8 is not None)) if is_given]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How the answers of what was written compare with the classifier's.

    Fields: compared, on what; images, how many; same, how many are named the same; difference, the largest of a
    probability; accuracy and accuracy_float, of a graph of integers and of the classifier on the run's judged photos.
    """

    compared: str
    images: int
    same: int
    difference: float
    accuracy: float | None = None
    accuracy_float: float | None = None

    @property
    def words(self) -> str:
        """The same in a line."""
        named = f"{self.same} of {self.images} named the same, probabilities differ by {self.difference:.1g} at most"
        line = f"compared with transferkit on {self.compared}: {named}"
        if self.accuracy is None or self.accuracy_float is None:
            return line
        return f"{line}; accuracy {self.accuracy:.1%}, {self.accuracy_float:.1%} before"

    def as_json(self) -> dict[str, Any]:
        """What is written into metadata and cards."""
        values = {"images": self.images, "named_the_same": self.same, "largest_difference": self.difference}
        if self.accuracy is not None:
            values |= {"accuracy": self.accuracy, "accuracy_float": self.accuracy_float}
        return values


def card_words(record: dict[str, Any]) -> str:
    """A sentence for the card of a model whose record says how an export of it compared; "" of others."""
    if not (agreed := record.get(COMPARED)):
        return ""
    return (
        f" Opened again, {agreed['named_the_same']} of {agreed['images']} images were named as transferkit names them; "
        f"probabilities differed by {agreed['largest_difference']:.1g} at most."
    )


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """A way to write a classifier for other programs.

    Args: help, what is written. write, called as `write(model, out, wanted=wanted)` with an `Artifact`, where
    `takes_ensembles` also an `Ensemble`, the path to write and a `Wanted`: it writes what agrees with the classifier or
    raises, and imports heavy libraries only then. is_folder, whether it writes a folder, which is never replaced.
    options, the fields of `Wanted` that it obeys.
    """

    name: str
    help: str
    write: Callable[..., Agreement]
    is_folder: bool = False
    takes_ensembles: bool = False
    options: frozenset[str] = frozenset()
