"""From a name to a network. Cards are read without importing torch; everything else imports it when it is called.

Which names there are and where they lead stands in the table of `sources`; nothing here asks for one of them by name.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.zoo import beside, hashes, sources
from transferkit.zoo.blueprint import Blueprint
from transferkit.zoo.card import ModelCard
from transferkit.zoo.card_list import CardList
from transferkit.zoo.errors import ModelFileError, NetworkError, UsageError, of_network
from transferkit.zoo.files import read_errors
from transferkit.zoo.names import missing_folder, parts, search, suggest, with_stages
from transferkit.zoo.own_folder import by_spec, model_folder
from transferkit.zoo.schema import MAX_BODIES
from transferkit.zoo.sources.source import Source

__all__ = ["cards", "create", "describe", "files_of", "model_folder", "rebuild", "search", "suggest", "wrap"]

if TYPE_CHECKING:
    from torch import nn

    from transferkit.zoo.backbone import Backbone


def create(
    name: str | Path,
    *,
    num_classes: int | None = None,
    weights: str | Path | None = None,
    image_size: int | None = None,
    offline: bool = False,
) -> "Backbone":
    """A network in evaluation mode, by name or path, with features of earlier stages as NAME@STAGE, or several as A+B.

    Args: num_classes, None keeps the head that the weights have; another number than that gives it a fresh one.
    weights, None for the pretrained ones, "none" for random ones, else a safetensors file. image_size, the side in
    pixels if not the default. offline, whether to use only what is on this machine.

    Raises: UsageError for an unknown name, with near misses; ModelFileError; NetworkError.
    """
    if min(num_classes or 1, image_size or 1) < 1:
        raise UsageError(f"num_classes and image_size start at 1, not {num_classes} and {image_size}")
    several = parts(str(name))
    if len(several) > MAX_BODIES:
        raise UsageError(f"{len(several)} backbones side by side are too many; allowed: up to {MAX_BODIES}")
    if len(several) > 1 and weights not in (None, "none"):
        raise UsageError(f"a file of weights is for one network, not for {name}; name model folders with + between")
    bodies = []
    for each in several:
        with read_errors(each):
            own, stages = with_stages(each)
            made = _created(own, num_classes=num_classes, weights=weights, image_size=image_size, offline=offline)
            bodies.append(_deepened(made, stages))
    return _joined(bodies)


def _deepened(body: "Backbone", stages: list[str]) -> "Backbone":
    """The network with features of those stages, where there are any."""
    if not stages:
        return body
    from transferkit.zoo import depths, sizes

    deep = depths.deepened(body, stages)
    if reason := sizes.refusal(deep):
        raise UsageError(f"{deep.card.name} cannot be computed: {reason}")
    return deep


def _joined(bodies: "list[Backbone]") -> "Backbone":
    """The networks side by side, where they are several."""
    if len(bodies) == 1:
        return bodies[0]
    from transferkit.zoo import side_by_side

    return side_by_side.join(bodies)


def _created(
    name: str, *, num_classes: int | None, weights: str | Path | None, image_size: int | None, offline: bool
) -> "Backbone":
    source, own = _found(name)
    found = _opened(source, own, name=name, offline=offline)
    file, is_foreign = None, source.is_foreign
    if weights not in (None, "none"):
        file = Path(weights)
        named, found = found, beside.configured(found, file)
        is_foreign |= found is not named
    blueprint = found.resized(image_size) if image_size else found
    if weights is None:
        file = blueprint.pretrained(offline=offline)
    if file is not None:
        hashes.check_listed(file)

    from transferkit.zoo import sizes
    from transferkit.zoo.weights import check_finite

    native_px = found.card().preprocessing.size_px[0] if image_size else None
    try:
        if file is not None and is_foreign:
            sizes.check_fits(found, file)
        backbone = blueprint.build(num_classes=num_classes, weights=file).eval()
    except Exception as error:  # the code of a network raises anything for arguments it was not made for
        if image_size and native_px and isinstance(error, ModelFileError):
            sizes.check_builds(found, image_size, native_px=native_px)
        if error is (told := of_network(error, name, is_foreign=is_foreign)):
            raise
        raise told from error
    if file is not None:
        check_finite(backbone.model, file)
    if native_px or is_foreign:
        sizes.check(backbone, found, native_px=native_px)
    return backbone


def files_of(name: str, *, weights: str | None = None) -> list[Path]:
    """The files, all on this machine, that decide what `create` makes of a name; none for random weights.

    For networks of the hub those belong to them that say which of its versions is used.

    Raises: the errors of `create` where it would have to download something.
    """
    if weights == "none":
        return []
    if len(several := parts(name)) > 1:
        return [path for each in several for path in files_of(each)]
    name, _ = with_stages(name)
    source, own = _found(name)
    file = Path(weights) if weights else _opened(source, own, name=name, offline=True).pretrained(offline=True)
    files = [file, *source.files(own), *(beside.files_of(file) if weights else ())]
    snapshots = [file.parents[1] for file in files if file.parent.parent.name == "snapshots"]
    return files + [path for folder in snapshots for path in (folder.parent / "refs").rglob("*") if path.is_file()]


def rebuild(
    spec: dict[str, Any], *, num_classes: int, image_size: int | None = None, beside: Path | None = None
) -> "Backbone":
    """The network of a `Backbone.spec`, in evaluation mode, without its weights.

    Args: beside, the file of weights that it is built for, where the spec is of unknown origin.
    Raises: ModelFileError if the spec is not one that this version can build, or not of the size of those weights.
    """
    blueprint = by_spec(spec)
    if beside is not None:
        from transferkit.zoo import sizes

        sizes.check_fits(blueprint, beside)
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


def at_hand() -> list[str]:
    """The names of the networks whose weights are here: installed, or in the hub's cache."""
    installed = [name for source in sources.SOURCES for name in source.travels if not source.lacks(name)]
    return installed + [name for source in sources.SOURCES for name in source.cached()]


def cards() -> CardList:
    """The cards of the networks that need no hub; in a notebook a table."""
    each = [(source, name) for source in sources.SOURCES for name in source.travels]
    return CardList([source.card(name) for source, name in each], [source.lacks(name) for source, name in each])


def describe(name: str, *, offline: bool = True) -> ModelCard:
    """The card of a network that `create` knows, without its weights.

    Args: offline, whether a configuration on the hub that is not cached is left there.
    Raises: UsageError for an unknown name, ModelFileError, NetworkError.
    """
    if len(several := parts(name)) > 1:
        from transferkit.zoo import side_by_side

        return side_by_side.joined_card([describe(each, offline=offline) for each in several])
    own, stages = with_stages(name)
    if stages:
        from transferkit.zoo.depths import deeper_card

        return deeper_card(describe(own, offline=offline), stages)
    with read_errors(name):
        source, own = _found(name)
        if own in source.travels:
            return source.card(own)
        from transferkit.zoo import sizes

        blueprint = _opened(source, own, name=name, offline=offline)
        card = blueprint.card()
        try:
            if source.is_foreign and (file := _weights_here(blueprint)):
                sizes.check_fits(blueprint, file)
            parameters = sizes.hollow(blueprint, num_classes=len(card.classes) or None).card.parameters
        except Exception as error:  # as in `create`
            if error is (told := of_network(error, name, is_foreign=source.is_foreign)):
                raise
            raise told from error
    return dataclasses.replace(card, parameters=parameters)


def _weights_here(blueprint: Blueprint) -> Path | None:
    """The weights, if they are on this machine."""
    try:
        return blueprint.pretrained(offline=True)
    except NetworkError:
        return None


def _found(name: str) -> tuple[Source, str]:
    """The source of a name and what it is called there. Raises: UsageError where no source takes it."""
    found = sources.find(name)
    if found is None:
        raise UsageError(missing_folder(name))
    return found


def _opened(source: Source, own: str, *, name: str, offline: bool) -> Blueprint:
    """The blueprint of what was found as `name`. Raises: UsageError with near misses, ModelFileError, NetworkError."""
    try:
        return source.open(own, offline=offline)
    except UsageError as error:
        if source.takes_paths:
            raise
        near = suggest(name)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; `transferkit zoo list` shows what needs no hub"
        said = error if near or ":" in name else missing_folder(name)
        raise UsageError(f"{said}{hint}") from error
