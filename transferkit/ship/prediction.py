"""What a classifier says of one image."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transferkit.zoo.text import printable

if TYPE_CHECKING:  # it imports torch, which a server of predictions does without
    from transferkit.ship.sources import Source


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a classifier says of one image; of an unreadable one `fault` gives the reason and the rest is empty.

    Fields: labels, what it says is there, with probabilities: one class, or of a multi-label classifier those above
    their thresholds, the likeliest first, perhaps none; label and probability, of the one class, None of a multi-label
    classifier; top, the likeliest classes, as many as were asked for; trained_on, whether the run trained or validated
    on this very file; is_sure, whether of answers as sure as this one no more are wrong than was asked for;
    is_familiar, whether the image is like any that was trained on. Of the last three None where that is not known.
    """

    source: "Source"
    label: str | None = None
    probability: float | None = None
    labels: tuple[tuple[str, float], ...] = ()
    top: tuple[tuple[str, float], ...] = ()
    trained_on: bool | None = None
    is_sure: bool | None = None
    is_familiar: bool | None = None
    fault: str | None = None

    @property
    def doubt(self) -> str:
        """Why the answer should not be relied on, in words; "" where nothing speaks against it."""
        if self.is_familiar is False:
            return "unlike anything seen"
        return "not sure" if self.is_sure is False else ""

    def as_json(self, *, names_one: bool) -> dict[str, Any]:
        """All of it as plain data, without what is not known.

        Args: names_one, whether the classifier names one class an image.
        """
        value: dict[str, Any] = {"path": printable(self.source)}
        if self.fault:
            return value | {"fault": self.fault}
        if names_one:
            value |= {"label": self.label, "probability": self.probability}
        else:
            value["labels"] = _listed(self.labels)
        known = ((name, getattr(self, name)) for name in ("is_sure", "is_familiar", "trained_on"))
        value |= {name: answer for name, answer in known if answer is not None}
        return value | ({"top": _listed(self.top)} if self.top else {})

    def _repr_html_(self) -> str:
        """The photo with bars, in a notebook."""
        from transferkit.ship.notebook import prediction_html

        listed = self.top if len(self.top) >= len(self.labels) else self.labels
        return prediction_html(self.source, listed, fault=self.fault, doubt=self.doubt, trained_on=self.trained_on)


def _listed(classes: tuple[tuple[str, float], ...]) -> list[dict[str, Any]]:
    return [{"label": label, "probability": probability} for label, probability in classes]
