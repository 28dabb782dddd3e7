"""The schema of what a report shows beside the scores: learning curve, calibration, abstention, audit, heat maps."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from transferkit.ship.numbers import Count, Finite, Number, Positive, Share

Shift = Annotated[float, Meta(ge=-100, le=100)]
Row = Annotated[str, Meta(pattern="^([0-9a-f][0-9a-f]){1,64}$")]


class Gain(Struct):
    """What more photos of a class, by its number, are expected to add to its recall."""

    label: Annotated[int, Meta(ge=0)]
    images: Count
    gain: Finite
    interval: tuple[Finite, Finite]


Forecast = tuple[Number, Share, Share, Share]  # number of images, accuracy, the ends of its 95 % interval


class LearningCurve(Struct):
    """How accuracy changes with the number of images, in metrics.json."""

    images: Number
    points: list[tuple[Number, Share]]
    line: Annotated[list[Forecast], Meta(min_length=2)]
    now: Forecast
    twice: Forecast
    gains: list[Gain]


class Tried(Struct):
    """How far from the probe to the fine-tuned network the weights are that `auto` keeps, in metrics.json."""

    share: Share
    loss: Finite
    way: list[tuple[Share, Finite]]
    images: Number
    fits: Number
    note: str
    gain: Finite
    error: Finite | None


class Reliability(Struct):
    """How far probabilities are those of being right: bins of mean confidence, accuracy, images."""

    ece: Share
    bins: list[tuple[Share, Share, Count]]
    loss: Finite | UnsetType = UNSET


class Calibration(Struct):
    """What dividing logits by a temperature gave, in metrics.json."""

    temperature: Positive
    images: Count
    before: Reliability
    after: Reliability


class Abstention(Struct):
    """The accuracy of the surest answers by how many they are, in metrics.json."""

    coverage: list[tuple[Share, Share]]


class Audit(Struct):
    """What looking at the images found, in sentences, in metrics.json."""

    lines: list[str]


class HeatMap(Struct):
    """Where a network sees a class in a photo: the box that it saw in shares of its sides, rows of bytes."""

    path: str
    about: str
    box: tuple[Shift, Shift, Shift, Shift]
    rows: Annotated[list[Row], Meta(min_length=1, max_length=64)]


class HeatMaps(Struct):
    """heat_maps.json."""

    maps: list[HeatMap]
    fault: str = ""  # why there are none
