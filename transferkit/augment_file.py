"""An augmentation as a user names it, checked before anything of it is made: a preset, or a file of transforms."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transferkit import presets
from transferkit.zoo.errors import UsageError
from transferkit.zoo.schema import MAX_SIDE_PX
from transferkit.zoo.text import printable

CONTAINERS = ("Compose", "OneOf", "OneOrOther", "RandomOrder", "Sequential", "SomeOf")
# Those that map one uint8 RGB image to another and need no boxes, masks, further images, fonts or code.
TRANSFORMS = frozenset(
    """
    AdditiveNoise AdvancedBlur Affine AutoContrast Blur CLAHE CenterCrop ChannelDropout ChannelShuffle
    ChromaticAberration CoarseDropout ColorJitter Crop CropAndPad D4 Defocus Downscale ElasticTransform Emboss Equalize
    Erasing FancyPCA GaussNoise GaussianBlur GlassBlur GridDistortion GridDropout GridElasticDeform HEStain
    HorizontalFlip HueSaturationValue ISONoise Illumination ImageCompression InvertImg LongestMaxSize MedianBlur
    Morphological MotionBlur MultiplicativeNoise NoOp OpticalDistortion Pad PadIfNeeded Perspective PiecewiseAffine
    PixelDropout PlanckianJitter PlasmaBrightnessContrast PlasmaShadow Posterize RGBShift RandomBrightnessContrast
    RandomCrop RandomCropFromBorders RandomFog RandomGamma RandomGravel RandomGridShuffle RandomRain RandomResizedCrop
    RandomRotate90 RandomScale RandomShadow RandomSizedCrop RandomSnow RandomSunFlare RandomToneCurve Resize
    RingingOvershoot Rotate SafeRotate SaltAndPepper Sharpen ShiftScaleRotate ShotNoise SmallestMaxSize Solarize Spatter
    SquareSymmetry Superpixels ThinPlateSpline ToGray ToSepia Transpose UnsharpMask VerticalFlip XYMasking ZoomBlur
    """.split()  # noqa: SIM905
)
MIRRORING = ("HorizontalFlip", "D4", "SquareSymmetry")
MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 16  # of containers


def mirrors(name_or_file: str | Path) -> bool:
    """Whether an augmentation may give mirror images: a preset by its steps, a file if it flips horizontally.

    Raises: UsageError as `read`.

    >>> mirrors("default"), mirrors("none")
    (True, False)
    """
    name = str(name_or_file)
    if preset := presets.find(name):
        return preset.mirrors
    return any(transform["__class_fullname__"] in MIRRORING for transform in _happening(read(Path(name))))


def read(path: Path) -> dict[str, Any]:
    """The transform that a JSON or YAML file describes as `albumentations.to_dict` does.

    Raises: UsageError naming the file and what is wrong with it.
    """
    if not path.is_file():
        raise UsageError(
            f"augmentation {str(path)!r} is unknown; "
            f"use {', '.join(presets.names())} or the path of a JSON or YAML file; steps of a preset are left out or "
            f"added by name, as in default-mirror+turn ({', '.join(presets.STEPS)})"
        )
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UsageError(f"augmentation file {path} is larger than {MAX_FILE_BYTES >> 20} MB")
    try:
        transform = _parse(path)["transform"]
        _check(transform, path)
    except UsageError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"augmentation file {path} is not the JSON or YAML of albumentations.to_dict: {one_line(error)}"
        ) from error
    return transform


def one_line(error: Exception) -> str:
    """What an error says, in at most 300 characters."""
    return printable(" ".join(str(error).split()))[:300] or type(error).__name__


def _parse(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix.lower() == ".json":
        return json.loads(text)
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _check(transform: dict[str, Any], path: Path, depth: int = 0) -> None:
    """Refuse every transform, at any depth, that is not on the lists, and numbers no photo needs."""
    if not isinstance(transform, dict):
        raise TypeError(f"a transform is a mapping, not {type(transform).__name__}")
    if depth > MAX_DEPTH:
        raise UsageError(f"augmentation file {path} nests more than {MAX_DEPTH} containers")
    name = transform["__class_fullname__"]
    if not isinstance(name, str) or (name not in CONTAINERS and name not in TRANSFORMS):
        raise UsageError(
            f"augmentation file {path} names {name!r:.80}; allowed are those in transferkit.augment_file.TRANSFORMS"
        )
    for argument, value in transform.items():
        if argument not in ("transforms", "seed"):  # the seed is ours
            _check_numbers(value, f"augmentation file {path}: {argument} of {name}")
    children = transform.get("transforms", [])
    if not isinstance(children, list):
        raise TypeError(f"transforms of {name} is no list")
    for child in children:
        _check(child, path, depth + 1)


def _check_numbers(value: Any, where: str) -> None:
    """Refuse a number, also one in a string or deeper inside, that is beyond the side of the largest image."""
    if isinstance(value, (list, tuple, dict)):
        for entry in value.values() if isinstance(value, dict) else value:
            _check_numbers(entry, where)
    elif isinstance(value, (int, float, str)):
        try:
            is_allowed = abs(float(value)) <= MAX_SIDE_PX
        except (ValueError, OverflowError):  # a word, or an integer beyond all floats
            is_allowed = isinstance(value, str)
        if not is_allowed:
            shown = printable(value)[:40]
            raise UsageError(
                f"{where} is {shown}, out of range; allowed: -{MAX_SIDE_PX} to {MAX_SIDE_PX}, as for pixels"
            )


def _happening(transform: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A transform and all in it, but none that has the probability 0."""
    if transform.get("p") != 0:
        yield transform
        for child in transform.get("transforms", ()):
            yield from _happening(child)
