"""The model folders that transferkit writes: what is in them as a network that is not built yet."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.zoo import schema, sources
from transferkit.zoo.blueprint import Blueprint
from transferkit.zoo.card import ModelCard, Preprocessing
from transferkit.zoo.errors import ModelFileError, UsageError
from transferkit.zoo.hashes import WEIGHTS

if TYPE_CHECKING:
    from transferkit.zoo.backbone import Backbone


def model_folder(path: Path) -> Path:
    """Where the model at a path is: in the folder of a run that has one, else in the path itself."""
    return path / "model" if (path / "model").is_dir() else path


def by_spec(spec: dict[str, Any]) -> Blueprint:
    """The blueprint of a `Backbone.spec`. Raises: ModelFileError if this version has no such network."""
    family, architecture = spec.get("family"), str(spec.get("architecture"))
    try:
        for source in sources.SOURCES:
            if source.family and source.family == family and (blueprint := source.by_spec(spec)):
                return blueprint
    except UsageError as error:
        raise ModelFileError(f"this version cannot build {family}:{architecture}: {error}") from error
    raise ModelFileError(f"this version cannot build {family}:{architecture}")


@dataclass(frozen=True, kw_only=True)
class OwnFolder:
    """A model folder that transferkit wrote: a blueprint, and the preprocessing and classes it was trained with."""

    folder: Path
    blueprint: Blueprint
    own: ModelCard

    @classmethod
    def read(cls, folder: Path, record: dict[str, Any]) -> "OwnFolder":
        """The blueprint under `transferkit` in a `config.json`.

        Raises: ModelFileError if something is missing there, UsageError if it is that of an ensemble.
        """
        if isinstance(record, dict) and "ensemble" in record:
            raise UsageError(f"{folder} is an ensemble; name one of its members, such as {folder / 'members' / '0'}")
        try:
            start = schema.read(record, schema.Start)
            blueprint = by_spec(schema.given(start.spec))
            preprocessing = Preprocessing(**schema.given(start.preprocessing))
        except ModelFileError as error:
            raise ModelFileError(f"the config.json of {folder} lacks what transferkit writes: {error}") from error
        own = ModelCard(
            name=str(folder),
            architecture=start.spec.architecture,
            preprocessing=preprocessing,
            classes=tuple(start.classes),
        )
        return cls(folder=folder, blueprint=blueprint, own=own)

    def resized(self, size_px: int) -> "OwnFolder":
        """The same for square images of another size."""
        preprocessing = dataclasses.replace(self.own.preprocessing, size_px=(size_px, size_px))
        own = dataclasses.replace(self.own, preprocessing=preprocessing)
        return dataclasses.replace(self, blueprint=self.blueprint.resized(size_px), own=own)

    def card(self) -> ModelCard:
        """The card of its network, with the preprocessing and classes of the folder."""
        return self._adopt(self.blueprint.card())

    def _adopt(self, other: ModelCard) -> ModelCard:
        own = self.own
        return dataclasses.replace(other, name=own.name, preprocessing=own.preprocessing, classes=own.classes)

    def pretrained(self, *, offline: bool) -> Path:
        """The weights in the folder; `offline` changes nothing."""
        return self.folder / WEIGHTS

    def build(self, *, num_classes: int | None = None, weights: Path | None = None) -> "Backbone":
        """The network with the weights of a file, or random ones; without `num_classes` it keeps the head it has."""
        backbone = self.blueprint.build(num_classes=num_classes or len(self.own.classes), weights=weights)
        card = self._adopt(backbone.card)
        if backbone.num_classes != len(card.classes):
            card = dataclasses.replace(card, classes=())
        backbone.card = card
        return backbone
