"""A model as a folder of plain data: weights, configuration, model card, and hashes of the three, written last.

The folder of a timm backbone is also timm's: `timm.create_model("local-dir:FOLDER", pretrained=True)` opens it. The
folder of an ensemble, and that of networks side by side, hold such a folder for each: `members/0`, `members/1`, ...
"""

import dataclasses
import shlex
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from transferkit.model import build
from transferkit.model import ensemble as networks
from transferkit.model.build import Backbone, check_finite, create, hub_folder, model_folder, rebuild, refusal
from transferkit.ship import description
from transferkit.ship.model_card import ensemble_card, model_card
from transferkit.ship.models import Artifact, Ensemble
from transferkit.trust import NOTHING_KNOWN, Familiarity, Sureness, Trust
from transferkit.zoo import hashes, schema
from transferkit.zoo.errors import ModelFileError, StorageError, UsageError, is_out_of_memory
from transferkit.zoo.files import new_folder, read_errors, read_safetensors, write_json, write_safetensors, write_text
from transferkit.zoo.hashes import CONFIG, FORMAT_VERSION, MANIFEST, WEIGHTS

CARD, MEMBERS = "README.md", "members"
FAMILIAR = "familiarity.safetensors"  # the features of images trained on, where they are known


def save(folder: Path, model: Artifact) -> None:
    """Write the model folder, whole or not at all; the same arguments give the same bytes.

    The record is plain data about the making; its blocks "test" and "val", as in metrics.json, go into the README.
    Raises: UsageError if the network cannot be described by plain data, or by too much of it, or has another number of
    classes; StorageError.
    """
    config, card = description.describe(model), model_card(model)
    bodies = _side_by_side(model)
    with new_folder(folder) as scratch:
        write_safetensors(scratch / WEIGHTS, model.backbone.model.state_dict(), {"format": "pt"})
        if model.trust.familiarity:
            write_safetensors(scratch / FAMILIAR, description.tensors(model.trust.familiarity))
        for name, body in zip(_member_names(len(bodies)), bodies):
            save(scratch / name, body)
        own = [WEIGHTS, *[FAMILIAR] * bool(model.trust.familiarity)]
        _complete(scratch, config, card, parts=[*own, *_member_files(len(bodies), also=(CARD,))])


def _side_by_side(model: Artifact) -> list[Artifact]:
    """Each of the networks that lie side by side in `model`, as a model of its own; none if it is a single one."""
    record = {key: model.record[key] for key in ("backbone", "strategy") if key in model.record}
    bodies, depth = build.bodies_of(model.backbone), model.preprocessing.bit_depth
    views = [dataclasses.replace(body.card.preprocessing, bit_depth=depth) for body in bodies]
    own = {"record": record, "trust": NOTHING_KNOWN}
    made = [{"backbone": body, "preprocessing": view, **own} for body, view in zip(bodies, views)]
    return [dataclasses.replace(model, **each) for each in made]


def save_ensemble(
    folder: Path,
    members: Sequence[Artifact],
    *,
    classes: tuple[str, ...],
    record: dict[str, Any],
    sureness: Sureness | None = None,
) -> None:
    """Write the model folder of an ensemble, whole or not at all: each member as `save` does, and what they make up.

    Args: classes, in the order of the answers; record, as in `save`, of the ensemble; sureness, of its answers.
    Raises: UsageError as `save` does, or if the members are fewer than two or differ in their classes; StorageError.
    """
    model = Ensemble(members=tuple(members), classes=tuple(classes), record=record)
    own = {"format_version": FORMAT_VERSION, "ensemble": len(members), "classes": list(classes), "record": record}
    own |= description.of_trust(Trust(sureness=sureness))
    card = ensemble_card(model)
    with new_folder(folder) as scratch:
        for name, member in zip(_member_names(len(members)), members):
            save(scratch / name, member)
        _complete(scratch, {"transferkit": own}, card, parts=_member_files(len(members), also=(CARD,)))


def _complete(folder: Path, config: dict[str, Any], card: str, *, parts: Iterable[str]) -> None:
    """Write the configuration, the card, and the hashes of both and of the `parts` that are there.

    Raises: UsageError if the configuration is too large to be read back.
    """
    write_json(folder / CONFIG, config)
    if (folder / CONFIG).stat().st_size > hashes.MAX_OBJECT_BYTES:
        raise UsageError(
            f"the record makes {CONFIG} larger than the {hashes.MAX_OBJECT_BYTES >> 20} MB that load reads"
        )
    write_text(folder / CARD, card)
    hashes.write(folder, [*parts, CONFIG, CARD])


def _member_names(count: int) -> Iterable[str]:
    return (f"{MEMBERS}/{number}" for number in range(count))


def _member_files(count: int, *, also: tuple[str, ...] = ()) -> Iterable[str]:
    """The files of all members that `load` reads, and others, by their names in the ensemble's folder."""
    return (f"{name}/{file}" for name in _member_names(count) for file in (WEIGHTS, CONFIG, MANIFEST, *also))


def load(path: str | Path) -> Artifact | Ensemble:
    """The model of a run folder, of a model folder (ours or plain timm), of the hub, or the embedded one of that name.

    Raises: UsageError if there is none; ModelFileError naming the file that is missing, edited, or does not fit;
    NetworkError if the hub does not give it.
    """
    with read_errors(path):
        return _loaded(path)


def _loaded(path: str | Path) -> Artifact | Ensemble:
    name = str(path)
    folder = model_folder(Path(path))
    if not folder.exists():
        folder = hub_folder(name)
    if folder is None:
        return _adopted(create(name, offline=not name.startswith("hf-hub:")))
    if not (folder / CONFIG).is_file() and not (folder / MANIFEST).is_file():
        if (Path(path) / "run.json").is_file():
            again = shlex.join(["transferkit", "finetune", "--resume", "-o", str(path)])
            raise UsageError(f"{path} is a run that is not finished and holds no model yet; go on with: {again}")
        raise UsageError(f"{path} holds no model: neither RUN/model nor {CONFIG} is there")
    if (own := hashes.own_block(folder)) is None:
        return _adopted(create(folder))
    if isinstance(own, dict) and "ensemble" in own:
        return _joined(folder, own)
    return _rebuilt(folder, own)


def _adopted(backbone: Backbone) -> Artifact:
    """The artifact of a network that comes with a card; classes without a name are called by their number."""
    classes = backbone.card.classes or tuple(str(number) for number in range(backbone.num_classes))
    return Artifact(backbone=backbone, classes=classes, preprocessing=backbone.card.preprocessing, record={})


def _joined(folder: Path, own: dict[str, Any]) -> Ensemble:
    """The ensemble of the key `transferkit`; members that differ only in the head hold the rest in the same memory."""
    members: list[Artifact] = []
    try:
        whole = schema.read(own, schema.OwnEnsemble)
    except ModelFileError as error:
        raise ModelFileError(f"{folder / CONFIG} is refused: {error}") from error
    try:
        classes = description.class_names(own)
        # a member's own manifest lists its weights; one by one, as there may be said to be any number
        hashes.check(
            folder, (f"{name}/{file}" for name in _member_names(whole.ensemble) for file in (CONFIG, MANIFEST))
        )
        for name in _member_names(whole.ensemble):
            member = _rebuilt(folder / name, hashes.own_block(folder / name))
            twins = (known for known in members if networks.is_same_body(known.backbone, member.backbone))
            if twin := next(twins, None):
                networks.share_body(twin.backbone, member.backbone)
            members.append(member)
        sureness = description.read_sureness(whole.sureness)
        return Ensemble(members=tuple(members), classes=classes, record=whole.record, sureness=sureness)
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise ModelFileError(f"{folder / CONFIG} is refused: {error}") from error


def _rebuilt(folder: Path, own: Any) -> Artifact:
    """The network of the key `transferkit`, with the weights beside it under exactly its own names."""
    hashes.check(folder, [WEIGHTS])
    try:
        read = schema.read(own, schema.Own)
        spec, origin, given = description.parse(own)
        backbone = rebuild(spec, num_classes=len(given["classes"]), beside=folder / WEIGHTS)
    except (UsageError, StorageError):
        raise
    except Exception as error:  # the code of a network raises anything for arguments it was not made for
        if is_out_of_memory(error):
            raise
        raise ModelFileError(f"{folder / CONFIG} is refused: {error}") from error
    try:
        backbone.model.load_state_dict(read_safetensors(folder / WEIGHTS))
    except RuntimeError as error:
        reason = textwrap.shorten(str(error).splitlines()[1], 200, placeholder=" ...")
        raise ModelFileError(f"{folder / WEIGHTS} does not fit {spec['architecture']}: {reason}") from error
    check_finite(backbone.model, folder / WEIGHTS)
    known = {key: given[key] for key in ("preprocessing", "classes")}
    backbone.card = dataclasses.replace(backbone.card, **known, **origin)
    if reason := refusal(backbone):
        height, width = backbone.card.preprocessing.size_px
        raise ModelFileError(
            f"{folder / CONFIG} is refused: its network takes no images of {height} x {width}: {reason}"
        )
    trust = Trust(sureness=description.read_sureness(read.sureness), familiarity=_familiarity(folder, read, backbone))
    return Artifact(backbone=backbone, **given, trust=trust)


def _familiarity(folder: Path, own: schema.Own, backbone: Backbone) -> Familiarity | None:
    """The features of images trained on, which lie beside the weights. Raises: ModelFileError."""
    if own.familiarity is None:
        return None
    hashes.check(folder, [FAMILIAR])
    tensors = read_safetensors(folder / FAMILIAR)
    try:
        return description.read_familiarity(own.familiarity, tensors, widths=backbone.widths)
    except (KeyError, ValueError) as error:
        raise ModelFileError(f"{folder / FAMILIAR} does not fit {CONFIG}: {error}") from error
