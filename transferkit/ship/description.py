"""A network in plain data: the config.json of a model folder, written and read."""

import dataclasses
from typing import Any

from torch import Tensor

from transferkit import tasks
from transferkit.model.build import Preprocessing, families
from transferkit.ship.models import Artifact
from transferkit.tasks import SINGLE_LABEL
from transferkit.trust import Familiarity, Sureness, Trust
from transferkit.zoo import schema
from transferkit.zoo.errors import UsageError
from transferkit.zoo.hashes import FORMAT_VERSION

TIMM_KEYS = (
    "tag",
    "first_conv",
    "classifier",
    "fixed_input_size",
    "license",
)  # of a pretrained_cfg, still true of new weights


def describe(model: Artifact) -> dict[str, Any]:
    """The content of config.json: timm's keys, and the key `transferkit` with all that `load` needs.

    Raises: UsageError if the network cannot be rebuilt from plain data or has another number of classes.
    """
    backbone, classes, preprocessing = model.backbone, model.classes, model.preprocessing
    family, architecture = backbone.spec["family"], backbone.spec["architecture"]
    if family == "other":
        *others, last = families()
        raise UsageError(
            f"{architecture} was made by hand; only networks of {', '.join(others)} and {last} can be saved"
        )
    if len(classes) != backbone.num_classes:
        raise UsageError(f"{len(classes)} class names for a network of {backbone.num_classes} outputs")
    own = {
        "format_version": FORMAT_VERSION,
        "spec": backbone.spec,
        "preprocessing": dataclasses.asdict(preprocessing),
        "classes": list(classes),
        "backbone": {key: getattr(backbone.card, key) for key in ("name", "license", "source")},
        "record": model.record,
        **model.task.as_json(),
        **({"averages_mirror": True} if model.averages_mirror else {}),
        **of_trust(model.trust),
    }
    if family != "timm":  # the family stands before the name, so that timm does not take a namesake for its own
        return {"architecture": f"{family}:{architecture}", "label_names": list(classes), "transferkit": own}
    native, width = (getattr(backbone.model, name) for name in ("pretrained_cfg", "num_features"))
    pretrained_cfg = {key: native[key] for key in TIMM_KEYS if native.get(key) is not None}
    return {
        "architecture": architecture,
        "num_classes": len(classes),
        "num_features": width,
        "label_names": list(classes),
        "model_args": backbone.spec["model_args"],
        **({} if model.task.names_one else {"problem_type": "multi_label_classification"}),  # as transformers says it
        "pretrained_cfg": pretrained_cfg
        | preprocessing.to_pretrained_cfg()
        | {"num_classes": len(classes), "custom_load": False},
        "transferkit": own,
    }


def parse(own: Any) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    """Spec and origin of the network in the key `transferkit`, and the fields of its `Artifact` beside it.

    Raises: ValueError, KeyError, TypeError or ModelFileError that says what is wrong.
    """
    classes = class_names(own)
    read = schema.read(own, schema.Own)
    task = SINGLE_LABEL
    if read.task:
        task = tasks.read(read.task.name, tuple(read.task.thresholds), num_classes=len(classes))
    given = {
        "classes": classes,
        "preprocessing": Preprocessing(**schema.given(read.preprocessing)),
        "record": read.record,
        "task": task,
        "averages_mirror": read.averages_mirror,
    }
    return schema.given(read.spec), schema.given(read.backbone), given


def of_trust(trust: Trust) -> dict[str, Any]:
    """What config.json has of it; the features themselves are `tensors`."""
    found: dict[str, Any] = {}
    if trust.sureness:
        found["sureness"] = [list(point) for point in trust.sureness.points]
    if trust.familiarity:
        found["familiarity"] = {"limit": trust.familiarity.limit}
    return found


def tensors(familiarity: Familiarity) -> dict[str, Tensor]:
    """Its features, in half precision."""
    return {name: tensor.half() for name, tensor in familiarity.state_dict().items()}


def read_sureness(points: list[tuple[float, float]] | None) -> Sureness | None:
    """What `of_trust` has written."""
    return Sureness(points=tuple(points)) if points else None


def read_familiarity(own: schema.OwnFamiliarity, tensors: dict[str, Tensor], *, widths: tuple[int, ...]) -> Familiarity:
    """What `of_trust` and `tensors` have written. Raises: KeyError or ValueError that says what is wrong."""
    basis, directions = (tensors[name].float() for name in ("basis", "directions"))
    if basis.ndim != 2 or directions.ndim != 2 or basis.shape != (sum(widths), directions.shape[1]):
        shapes = f"{tuple(basis.shape)} and {tuple(directions.shape)}"
        raise ValueError(f"features of shape {shapes} for {sum(widths)} of the network")
    if not directions.numel() or not (basis.isfinite().all() and directions.isfinite().all()):
        raise ValueError("features that are no numbers")
    return Familiarity(basis=basis, directions=directions, widths=widths, limit=own.limit)


def class_names(own: Any) -> tuple[str, ...]:
    """The classes of the key `transferkit`. Raises: ValueError, KeyError or TypeError that says what is wrong."""
    if own["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"format_version is {own['format_version']!r}; this version of transferkit reads {FORMAT_VERSION}"
        )
    classes = tuple(own["classes"])
    if not classes or len(set(classes)) != len(classes) or not all(isinstance(name, str) for name in classes):
        raise ValueError("classes must be different names")
    return classes
