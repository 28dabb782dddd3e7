"""What a config.json of unknown origin may hold: kinds and ranges, checked whole before any of it is used.

Keys that are not named here are ignored; of timm's, only those named here reach timm.
"""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from transferkit.zoo.card import Preprocessing
from transferkit.zoo.errors import ModelFileError

MAX_SIDE_PX = 4096  # of --image-size and of numbers in augmentation files, too
MAX_CLASSES = 1_000_000
MAX_ARGUMENT = 100_000  # of a number in model_args: the widest layers of timm have some ten thousand channels
MAX_ITEMS = 1000  # of a list in model_args
MAX_BODIES = 8  # networks side by side
MAX_DEPTH = 4  # of lists in lists there

Name = Annotated[str, Meta(min_length=1, max_length=300)]
Text = Annotated[str, Meta(max_length=100_000)]
Label = Annotated[str, Meta(max_length=1 << 17)]  # the longest that a CSV may hold: what is saved must open
Side = Annotated[int, Meta(ge=1, le=MAX_SIDE_PX)]
Count = Annotated[int, Meta(ge=0, le=MAX_CLASSES)]
Mean = Annotated[float, Meta(ge=-1e4, le=1e4)]
Deviation = Annotated[float, Meta(ge=1e-4, le=1e4)]
Share = Annotated[float, Meta(gt=0, le=1)]
Part = Annotated[float, Meta(ge=0, le=1)]
Names = Annotated[list[Name], Meta(max_length=100)]

Kind = TypeVar("Kind", bound=Struct)


class PretrainedCfg(Struct):
    """The keys of timm's pretrained_cfg that are read; null counts as left out."""

    input_size: tuple[int, Side, Side] | None = None
    mean: tuple[Mean, Mean, Mean] | None = None
    std: tuple[Deviation, Deviation, Deviation] | None = None
    interpolation: Name | None = None
    crop_pct: Share | None = None
    crop_mode: Name | None = None
    fixed_input_size: bool | None = None
    num_classes: Count | None = None
    label_offset: Count | None = None
    label_names: list[Label] | None = None
    classifier: Name | Names | None = None
    first_conv: Name | Names | None = None
    pool_size: tuple[Count, Count] | None = None
    license: Text | None = None
    description: Text | None = None
    tag: Text | None = None


class TimmConfig(Struct):
    """The config.json of a folder or repository in timm's format; the oldest have no pretrained_cfg but its keys."""

    architecture: Name
    num_classes: Count | None = None
    label_names: list[Label] | None = None
    model_args: dict[Name, Any] | None = None
    pretrained_cfg: PretrainedCfg | None = None


class Spec(Struct):
    """What a network of ours is rebuilt from."""

    family: Name
    architecture: Annotated[str, Meta(max_length=300)] = ""
    model_args: dict[Name, Any] = {}
    linear_head: bool = False
    of: Name = ""  # with features of some stages: the family of the network, and those
    stages: Names = []


class OwnPreprocessing(Struct, forbid_unknown_fields=True):
    """The fields of `Preprocessing`: one that is not known here would change answers."""

    size_px: tuple[Side, Side] = Preprocessing.size_px
    mean: tuple[Mean, Mean, Mean] = Preprocessing.mean
    std: tuple[Deviation, Deviation, Deviation] = Preprocessing.std
    interpolation: Name = Preprocessing.interpolation
    crop_pct: Share = Preprocessing.crop_pct
    crop_mode: Name = Preprocessing.crop_mode
    bit_depth: int | None = None


class Origin(Struct):
    """Where the weights of a backbone came from."""

    name: Text
    license: Text
    source: Text


class Body(Struct):
    """One of several networks side by side."""

    spec: Spec
    preprocessing: OwnPreprocessing
    backbone: Origin


class WholeSpec(Spec):
    """What a network is rebuilt from that may be several side by side."""

    bodies: Annotated[list[Body], Meta(min_length=2, max_length=MAX_BODIES)] | None = None


class Start(Struct):
    """What has to stand under `transferkit` for a network to start from."""

    spec: WholeSpec
    preprocessing: OwnPreprocessing
    classes: list[Label]


class OwnTask(Struct):
    """What the network is asked, where that is not one class for each image."""

    name: Name
    thresholds: Annotated[list[Share], Meta(max_length=MAX_CLASSES)] = []


class OwnFamiliarity(Struct):
    """How near others of their kind are to the features of images trained on, which lie in a file of their own."""

    limit: Annotated[float, Meta(ge=-1, le=1)]


Sureness = Annotated[list[tuple[Part, Part]], Meta(max_length=1000)]  # a confidence, and the share wrong of the surer


class Own(Start):
    """What has to stand there for a classifier."""

    backbone: Origin
    record: dict[str, Any]
    task: OwnTask | None = None
    averages_mirror: bool = False  # over an image and its mirror image
    sureness: Sureness | None = None
    familiarity: OwnFamiliarity | None = None


class OwnEnsemble(Struct):
    """What has to stand there for an ensemble."""

    ensemble: int
    classes: list[Label]
    record: dict[str, Any]
    sureness: Sureness | None = None


def converted(value: Any, kind: type[Kind]) -> Kind:
    """`value`, as it was parsed from JSON, as that kind.

    Raises: ModelFileError saying which key has which wrong value.
    """
    try:
        return msgspec.convert(value, kind)
    except UnicodeEncodeError as error:
        raise ModelFileError(f"{error.object!r} is half a character") from error
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        key = place.strip("`").removeprefix("$").lstrip(".")
        raise ModelFileError(f"{key}: {reason}" if key else reason) from error


def read(value: Any, kind: type[Kind]) -> Kind:
    """`value` as that kind of config.json, the arguments of its network checked as well.

    Raises: ModelFileError saying which key has which wrong value.
    """
    found = converted(value, kind)
    spec = getattr(found, "spec", None)
    for part in (found, spec, *(body.spec for body in getattr(spec, "bodies", None) or ())):
        check_arguments(getattr(part, "model_args", None) or {})
    return found


def given(part: Struct | None) -> dict[str, Any]:
    """The keys of a part that are not null, as plain data."""
    values = {} if part is None else msgspec.structs.asdict(part)
    return {key: _plain(value) for key, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    """Structures in lists and in one another as dictionaries."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return given(value) if isinstance(value, Struct) else value


def check_arguments(arguments: dict[str, Any]) -> None:
    """Raise ModelFileError if arguments of a network are more than a few plain and small values."""
    for name, value in arguments.items():
        _check_argument(name, value, depth=0)


def _check_argument(name: str, value: Any, *, depth: int) -> None:
    if isinstance(value, (list, tuple, dict)):
        if depth >= MAX_DEPTH or len(value) > MAX_ITEMS:
            raise ModelFileError(f"the argument {name!r} of model_args has too many values in it")
        for item in value.values() if isinstance(value, dict) else value:
            _check_argument(name, item, depth=depth + 1)
    elif isinstance(value, str):
        if len(value) > MAX_ITEMS:
            raise ModelFileError(f"the argument {name!r} of model_args is a text of {len(value):,} characters")
    elif isinstance(value, (int, float)):
        most = MAX_SIDE_PX if "size" in name else MAX_ARGUMENT
        if not abs(value) <= most:
            raise ModelFileError(f"the argument {name!r} of model_args is {value!r:.20}; allowed: up to {most:,}")
    elif value is not None:
        raise ModelFileError(f"the argument {name!r} of model_args is a {type(value).__name__}")
