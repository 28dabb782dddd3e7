"""The augmentations that have a name: one line of `PRESETS` each, and what it makes of albumentations.

Nothing heavy is imported here: `data/augment.py` hands albumentations over when the first view is made.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transferkit.zoo.card import Preprocessing

Transforms = Callable[[Any, Preprocessing], list[Any]]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """An augmentation under a name.

    Args: help, what happens to a photo; mirrors, whether a view may be a mirror image; transforms, what makes the steps
    of the module albumentations for what a network expects, or None where a view is that of evaluation.
    """

    name: str
    help: str
    mirrors: bool
    transforms: Transforms | None


def _crop_and_flip(albumentations: Any, preprocessing: Preprocessing, smallest: float = 0.35) -> list[Any]:
    """Args: smallest, the least share of the photo that a crop shows."""
    import cv2

    return [
        # Pixels are averaged where the crop shrinks: taking every n-th would alias.
        albumentations.RandomResizedCrop(
            preprocessing.size_px,
            scale=(smallest, 1.0),
            interpolation=cv2.INTER_CUBIC,
            area_for_downscale="image",
        ),
        albumentations.HorizontalFlip(p=0.5),
    ]


def _light(albumentations: Any, preprocessing: Preprocessing) -> list[Any]:
    return _crop_and_flip(albumentations, preprocessing, smallest=0.7)


def _default(albumentations: Any, preprocessing: Preprocessing) -> list[Any]:
    light = albumentations.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5)
    return [*_crop_and_flip(albumentations, preprocessing), light]


def _strong(albumentations: Any, preprocessing: Preprocessing) -> list[Any]:
    import cv2

    mean = tuple(round(255 * value) for value in preprocessing.mean)
    return [
        *_default(albumentations, preprocessing),
        albumentations.ColorJitter(brightness=0, contrast=0, saturation=(0.6, 1.4), hue=(-0.05, 0.05), p=0.8),
        albumentations.Affine(
            scale=(0.9, 1.1), rotate=(-15, 15), shear=(-5, 5), border_mode=cv2.BORDER_REFLECT_101, p=0.7
        ),
        albumentations.CoarseDropout(
            num_holes_range=(1, 1), hole_height_range=(0.1, 0.35), hole_width_range=(0.1, 0.35), fill=mean, p=0.5
        ),
    ]


PRESETS = (
    Preset(name="none", help="what evaluation sees", mirrors=False, transforms=None),
    Preset(name="light", help="a large crop, mirrored or not", mirrors=True, transforms=_light),
    Preset(name="default", help="a smaller crop, mirrored or not, in other light", mirrors=True, transforms=_default),
    Preset(name="strong", help="the same in other colours, turned, with a hole", mirrors=True, transforms=_strong),
)


def names() -> tuple[str, ...]:
    """The names of all presets."""
    return tuple(preset.name for preset in PRESETS)


def find(name: str) -> Preset | None:
    """The preset of that name; None if there is none.

    >>> find("light").mirrors, find("heavy")
    (True, None)
    """
    return next((preset for preset in PRESETS if preset.name == name), None)


def help_text() -> str:
    """What each preset does, and which give no mirror images, for the help of an option."""
    unmirrored = ", ".join(preset.name for preset in PRESETS if not preset.mirrors)
    return (
        f"{' '.join(f'{preset.name}: {preset.help}.' for preset in PRESETS)} Or an albumentations JSON or YAML file. "
        f"A head is fitted to mirror images only where it mirrors: not with {unmirrored}, nor with a file without a "
        "horizontal flip."
    )
