"""A model as a folder of plain data: weights, configuration, model card, and hashes of the three, written last.

The folder of a timm backbone is also timm's: `timm.create_model("local-dir:FOLDER", pretrained=True)` opens it.
"""

import dataclasses
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.model.build import Backbone, Preprocessing, create, rebuild
from transferkit.ship.model_card import model_card
from transferkit.zoo.errors import ModelFileError, UsageError
from transferkit.zoo.files import (
    new_folder,
    read_json,
    read_safetensors,
    sha256,
    write_json,
    write_safetensors,
    write_text,
)

WEIGHTS, CONFIG, CARD, MANIFEST = "model.safetensors", "config.json", "README.md", "MANIFEST.json"
FORMAT_VERSION = 1
MAX_CONFIG_BYTES = 1 << 20
TIMM_KEYS = (
    "tag",
    "first_conv",
    "classifier",
    "fixed_input_size",
    "license",
)  # of a pretrained_cfg, still true of new weights


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A network ready for use: the names of its outputs, how its images are prepared, and the record of its making."""

    backbone: Backbone
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    record: dict[str, Any]


def save(
    folder: Path, backbone: Backbone, *, classes: tuple[str, ...], preprocessing: Preprocessing, record: dict[str, Any]
) -> None:
    """Write the model folder, whole or not at all; the same arguments give the same bytes.

    Args: record is plain data about the making; its blocks "test" and "val", as in metrics.json, go into the README.
    Raises: UsageError if the network cannot be described by plain data, or by too much of it, or has another number of
    classes; StorageError.
    """
    config = describe(backbone, classes=classes, preprocessing=preprocessing, record=record)
    card = model_card(backbone, classes=classes, preprocessing=preprocessing, record=record)
    with new_folder(folder) as scratch:
        write_safetensors(scratch / WEIGHTS, backbone.model.state_dict(), {"format": "pt"})
        write_json(scratch / CONFIG, config)
        if (scratch / CONFIG).stat().st_size > MAX_CONFIG_BYTES:
            raise UsageError(
                f"the record of {folder} makes {CONFIG} larger than the {MAX_CONFIG_BYTES >> 20} MB that load reads"
            )
        write_text(scratch / CARD, card)
        listed = {
            name: {"sha256": sha256(scratch / name), "bytes": (scratch / name).stat().st_size}
            for name in (WEIGHTS, CONFIG, CARD)
        }
        write_json(scratch / MANIFEST, {"format_version": FORMAT_VERSION, "files": listed})


def describe(
    backbone: Backbone, *, classes: tuple[str, ...], preprocessing: Preprocessing, record: dict[str, Any]
) -> dict[str, Any]:
    """The content of config.json: timm's keys, and the key `transferkit` with all that `load` needs.

    Raises: UsageError if the network cannot be rebuilt from plain data or has another number of classes.
    """
    family, architecture = backbone.spec["family"], backbone.spec["architecture"]
    if family == "other":
        raise UsageError(
            f"{architecture} was made by hand; only networks of timm, torchvision and transferkit can be saved"
        )
    if len(classes) != backbone.num_classes:
        raise UsageError(f"{len(classes)} class names for a network of {backbone.num_classes} outputs")
    own = {
        "format_version": FORMAT_VERSION,
        "spec": backbone.spec,
        "preprocessing": dataclasses.asdict(preprocessing),
        "classes": list(classes),
        "backbone": {key: getattr(backbone.card, key) for key in ("name", "license", "source")},
        "record": record,
    }
    if family != "timm":  # the family stands before the name, so that timm does not take a namesake for its own
        return {"architecture": f"{family}:{architecture}", "label_names": list(classes), "transferkit": own}
    native = backbone.model.pretrained_cfg
    pretrained_cfg = {key: native[key] for key in TIMM_KEYS if native.get(key) is not None}
    return {
        "architecture": architecture,
        "num_classes": len(classes),
        "num_features": backbone.model.num_features,
        "label_names": list(classes),
        "model_args": backbone.spec["model_args"],
        "pretrained_cfg": pretrained_cfg
        | preprocessing.to_pretrained_cfg()
        | {"num_classes": len(classes), "custom_load": False},
        "transferkit": own,
    }


def load(path: str | Path) -> Artifact:
    """The network of a run folder, of a model folder (ours or plain timm), or the embedded or cached one of that name.

    Raises: UsageError if there is none; ModelFileError naming the file that is missing, edited, or does not fit.
    """
    folder = Path(path)
    if (folder / "model").is_dir():
        folder = folder / "model"
    if not folder.exists():
        return _adopted(create(str(path), offline=True))
    if not (folder / CONFIG).is_file() and not (folder / MANIFEST).is_file():
        raise UsageError(f"{path} holds no model: neither RUN/model nor {CONFIG} is there")
    _check_hashes(folder)
    config = _read_object(folder / CONFIG)
    if "transferkit" not in config:
        artifact = _adopted(create(folder))
    else:
        artifact = _rebuilt(folder, config["transferkit"])
    _check_finite(artifact.backbone, folder / WEIGHTS)
    return artifact


def _adopted(backbone: Backbone) -> Artifact:
    """The artifact of a network that comes with a card; classes without a name are called by their number."""
    classes = backbone.card.classes or tuple(str(number) for number in range(backbone.num_classes))
    return Artifact(backbone=backbone, classes=classes, preprocessing=backbone.card.preprocessing, record={})


def _check_hashes(folder: Path) -> None:
    """Refuse files that are not the ones the manifest names; a plain timm folder has no manifest and passes."""
    if not (folder / MANIFEST).is_file():
        if "transferkit" in _read_object(folder / CONFIG):
            raise ModelFileError(
                f"{folder / MANIFEST} is missing: the folder was not written to its end, or not copied whole"
            )
        return
    listed = _read_object(folder / MANIFEST).get("files")
    for name in (WEIGHTS, CONFIG):  # what is read below; a README may be edited
        try:
            expected = listed[name]["sha256"]
        except (KeyError, TypeError) as error:
            raise ModelFileError(f"{folder / MANIFEST} does not list {name}") from error
        if not (folder / name).is_file():
            raise ModelFileError(f"{folder / name} is missing")
        if sha256(folder / name) != expected:
            raise ModelFileError(f"{folder / name} is not the file that was saved: its SHA-256 differs from {MANIFEST}")


def _read_object(path: Path) -> dict[str, Any]:
    """The object in a small JSON file. Raises: ModelFileError if it is none, or larger than 1 MB."""
    if path.is_file() and path.stat().st_size > MAX_CONFIG_BYTES:
        raise ModelFileError(f"{path} is larger than the {MAX_CONFIG_BYTES >> 20} MB allowed")
    value = read_json(path)
    if not isinstance(value, dict):
        raise ModelFileError(f"{path} holds a {type(value).__name__}, not an object")
    return value


def _rebuilt(folder: Path, own: Any) -> Artifact:
    """The network of the key `transferkit`, with the weights beside it under exactly its own names."""
    try:
        spec, classes, preprocessing, origin, record = _checked(own)
        backbone = rebuild(spec, num_classes=len(classes))
    except (AttributeError, KeyError, TypeError, ValueError, ModelFileError) as error:
        raise ModelFileError(f"{folder / CONFIG} is refused: {error}") from error
    try:
        backbone.model.load_state_dict(read_safetensors(folder / WEIGHTS))
    except RuntimeError as error:
        reason = textwrap.shorten(str(error).splitlines()[1], 200, placeholder=" ...")
        raise ModelFileError(f"{folder / WEIGHTS} does not fit {spec['architecture']}: {reason}") from error
    backbone.card = dataclasses.replace(backbone.card, preprocessing=preprocessing, classes=classes, **origin)
    return Artifact(backbone=backbone, classes=classes, preprocessing=preprocessing, record=record)


def _checked(own: Any) -> tuple[dict[str, Any], tuple[str, ...], Preprocessing, dict[str, str], dict[str, Any]]:
    """Spec, classes, preprocessing, origin and record of the key `transferkit`.

    Raises: ValueError, KeyError, TypeError or ModelFileError that says what is wrong.
    """
    if own["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"format_version is {own['format_version']!r}; this version of transferkit reads {FORMAT_VERSION}"
        )
    classes = tuple(own["classes"])
    if not classes or len(set(classes)) != len(classes) or not all(isinstance(name, str) for name in classes):
        raise ValueError("classes must be different names")
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in own["preprocessing"].items()}
    origin = {key: str(own["backbone"][key]) for key in ("name", "license", "source")}
    return dict(own["spec"]), classes, Preprocessing(**fields), origin, dict(own["record"])


def _check_finite(backbone: Backbone, path: Path) -> None:
    for name, tensor in backbone.model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelFileError(f"{path} is refused: {name} has values that are not finite")
