"""From a name to a network. Cards are read without importing torch; everything else imports it when it is called.

A name is an existing path, an embedded name, `torchvision:NAME`, `hf-hub:ORGANISATION/NAME`, `timm:NAME` or a bare timm
name; they are tried in that order.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from transferkit.zoo import embedded
from transferkit.zoo.card import ModelCard
from transferkit.zoo.errors import ModelFileError, UsageError
from transferkit.zoo.files import read_json
from transferkit.zoo.names import search, suggest

__all__ = ["cards", "create", "describe", "files_of", "rebuild", "search", "suggest", "wrap"]

if TYPE_CHECKING:
    from torch import nn

    from transferkit.zoo.backbone import Backbone


class Blueprint(Protocol):
    """What each source of networks makes of a name: a network that is not built yet."""

    def resized(self, size_px: int) -> "Blueprint":
        """The same for square images of another size."""

    def card(self) -> ModelCard:
        """What is known of it before it is built."""

    def pretrained(self, *, offline: bool) -> Path:
        """The safetensors file of its pretrained weights."""

    def build(self, *, num_classes: int | None = None, weights: Path | None = None) -> "Backbone":
        """The network, with random weights if no file is given."""


def create(
    name: str | Path,
    *,
    num_classes: int | None = None,
    weights: str | Path | None = None,
    image_size: int | None = None,
    offline: bool = False,
) -> "Backbone":
    """A network in evaluation mode, by name or path.

    Args: num_classes, None keeps the head that the weights have; another number than that gives it a fresh one.
    weights, None for the pretrained ones, "none" for random ones, else a safetensors file. image_size, the side in
    pixels if not the default. offline, whether to use only what is on this machine.

    Raises: UsageError for an unknown name, with near misses; ModelFileError; NetworkError.
    """
    if min(num_classes or 1, image_size or 1) < 1:
        raise UsageError(f"num_classes and image_size start at 1, not {num_classes} and {image_size}")
    blueprint = _find(str(name), offline=offline)
    if image_size:
        blueprint = blueprint.resized(image_size)
    if weights is None:
        file = blueprint.pretrained(offline=offline)
    else:
        file = None if weights == "none" else Path(weights)
    return blueprint.build(num_classes=num_classes, weights=file).eval()


def files_of(name: str, *, weights: str | None = None) -> list[Path]:
    """The files, all on this machine, that decide what `create` makes of a name; none for random weights.

    For networks of the hub those belong to them that say which of its versions is used.

    Raises: the errors of `create` where it would have to download something.
    """
    if weights == "none":
        return []
    files = [Path(weights) if weights else _find(name, offline=True).pretrained(offline=True)]
    if Path(name).exists():
        files.append(model_folder(Path(name)) / "config.json")
    elif name.startswith("hf-hub:"):
        from transferkit.zoo.weights import from_hub

        files.append(from_hub(name.removeprefix("hf-hub:"), "config.json", offline=True))
    snapshots = [file.parents[1] for file in files if file.parent.parent.name == "snapshots"]
    return files + [path for folder in snapshots for path in (folder.parent / "refs").rglob("*") if path.is_file()]


def rebuild(spec: dict[str, Any], *, num_classes: int, image_size: int | None = None) -> "Backbone":
    """The network of a `Backbone.spec`, in evaluation mode, without its weights.

    Raises: ModelFileError if the spec is not one that this version can build.
    """
    blueprint = _by_spec(spec)
    if image_size:
        blueprint = blueprint.resized(image_size)
    return blueprint.build(num_classes=num_classes).eval()


def wrap(model: "nn.Module") -> "Backbone":
    """A network that was made elsewhere, by timm, torchvision or hand, as a Backbone that shares it.

    The card of a hand-made one has the default preprocessing, and it cannot be rebuilt from its spec.

    Raises: UsageError if it does not end in a linear layer.
    """
    from transferkit.zoo import from_timm, from_torchvision
    from transferkit.zoo.backbone import Backbone

    if hasattr(model, "pretrained_cfg"):
        return from_timm.wrap(model)
    name = type(model).__name__
    card = ModelCard(name=name, architecture=name, parameters=sum(p.numel() for p in model.parameters()))
    spec = {"family": "other", "architecture": name, "model_args": {}}
    return Backbone(model, from_torchvision.dissect(model), card=card, spec=spec)


def cards() -> list[ModelCard]:
    """The cards of the embedded networks."""
    return [embedded.card(name) for name in embedded.NAMES]


def describe(name: str) -> ModelCard:
    """The card of a network that `create` knows, without its weights. Raises: UsageError for an unknown name."""
    if name in embedded.NAMES:
        return embedded.card(name)
    return _find(name, offline=True).card()


def _find(name: str, *, offline: bool) -> Blueprint:
    """The blueprint of a name. Raises: UsageError with near misses, ModelFileError, NetworkError."""
    if Path(name).exists():
        return _in_folder(Path(name))
    if name in embedded.NAMES:
        return embedded.Blueprint(name=name)
    source, _, rest = name.partition(":")
    try:
        if source == "torchvision":
            from transferkit.zoo import from_torchvision

            return from_torchvision.Blueprint(architecture=rest)
        from transferkit.zoo import from_timm

        if source == "hf-hub":
            from transferkit.zoo.weights import from_hub

            config = read_json(from_hub(rest, "config.json", offline=offline))
            return from_timm.by_config(config, name=name, hub=rest)
        return from_timm.by_name(name.removeprefix("timm:"))
    except UsageError as error:
        near = suggest(name)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; `transferkit zoo list` shows what is embedded"
        raise UsageError(f"{error}{hint}") from error


def model_folder(path: Path) -> Path:
    """Where the model at a path is: in the folder of a run that has one, else in the path itself."""
    return path / "model" if (path / "model" / "config.json").is_file() else path


def _in_folder(path: Path) -> Blueprint:
    """The blueprint of a model folder, or of a run folder that has one. Raises: UsageError, ModelFileError."""
    from transferkit.zoo import from_timm

    folder = model_folder(path)
    if not (folder / "config.json").is_file():
        raise UsageError(f"{path} is no model folder: it has no config.json")
    config = read_json(folder / "config.json")
    if isinstance(config, dict) and "transferkit" in config:
        return OwnFolder.read(folder, config["transferkit"])
    return from_timm.by_config(config, name=folder.resolve().name, folder=folder)


def _by_spec(spec: dict[str, Any]) -> Blueprint:
    family, architecture = spec.get("family"), spec.get("architecture")
    try:
        if family == "transferkit" and architecture in embedded.NAMES:
            return embedded.Blueprint(name=architecture)
        if family == "torchvision":
            from transferkit.zoo import from_torchvision

            return from_torchvision.Blueprint(architecture=architecture, is_linear=spec.get("linear_head", False))
        if family == "timm":
            from transferkit.zoo import from_timm

            return dataclasses.replace(from_timm.by_name(architecture), model_args=dict(spec["model_args"]))
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
        try:
            if "ensemble" in record:
                raise UsageError(
                    f"{folder} is an ensemble; name one of its members, such as {folder / 'members' / '0'}"
                )
            blueprint = _by_spec(record["spec"])
            values = {key: record[key] for key in ("preprocessing", "classes")}
            values |= {"name": str(folder), "architecture": record["spec"]["architecture"]}
            return cls(folder=folder, blueprint=blueprint, own=ModelCard.from_json(json.dumps(values)))
        except (AttributeError, KeyError, TypeError) as error:
            raise ModelFileError(f"the config.json of {folder} lacks what transferkit writes: {error}") from error

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
        return self.folder / "model.safetensors"

    def build(self, *, num_classes: int | None = None, weights: Path | None = None) -> "Backbone":
        """The network with the weights of a file, or random ones; without `num_classes` it keeps the head it has."""
        backbone = self.blueprint.build(num_classes=num_classes or len(self.own.classes), weights=weights)
        card = self._adopt(backbone.card)
        if backbone.num_classes != len(card.classes):
            card = dataclasses.replace(card, classes=())
        backbone.card = card
        return backbone
