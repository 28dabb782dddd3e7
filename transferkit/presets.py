"""The augmentations that have a name: one line of `PRESETS` each, and what it makes of albumentations.

Nothing heavy is imported here: `data/augment.py` hands albumentations over when the first view is made.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from transferkit.zoo.card import Preprocessing

Transform = Callable[[Any, Preprocessing], Any]
NAME = re.compile(r"(\w+)((?:[+-]\w+)*)")  # of a preset, and the steps that are left out or added


@dataclass(frozen=True, kw_only=True)
class Step:
    """One transform of a preset.

    Args: name, by which `--augment` leaves it out or adds it; words, what it makes of photos, in the plural; transform,
    what makes it of the module albumentations for what a network expects.
    """

    name: str
    words: str
    transform: Transform


@dataclass(frozen=True, kw_only=True)
class Preset:
    """An augmentation under a name.

    Args: help, what happens to a photo; steps, in their order; without any a view is that of evaluation.
    """

    name: str
    help: str
    steps: tuple[Step, ...]

    @property
    def mirrors(self) -> bool:
        """Whether a view may be a mirror image, left for right: a head is then fitted to these too."""
        return MIRROR in self.steps


def _crop(albumentations: Any, preprocessing: Preprocessing, *, smallest: float) -> Any:
    """Args: smallest, the least share of the photo that a crop shows."""
    import cv2

    return albumentations.RandomResizedCrop(
        preprocessing.size_px,
        scale=(smallest, 1.0),
        interpolation=cv2.INTER_CUBIC,
        area_for_downscale="image",  # pixels are averaged where the crop shrinks: taking every n-th would alias
    )


def _mirror(albumentations: Any, preprocessing: Preprocessing) -> Any:
    return albumentations.HorizontalFlip(p=0.5)


def _flip(albumentations: Any, preprocessing: Preprocessing) -> Any:
    return albumentations.VerticalFlip(p=0.5)


def _turn(albumentations: Any, preprocessing: Preprocessing) -> Any:
    return albumentations.RandomRotate90(p=1)  # by 0, 1, 2 or 3 quarters


def _light(albumentations: Any, preprocessing: Preprocessing) -> Any:
    return albumentations.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5)


def _colour(albumentations: Any, preprocessing: Preprocessing) -> Any:
    return albumentations.ColorJitter(brightness=0, contrast=0, saturation=(0.6, 1.4), hue=(-0.05, 0.05), p=0.8)


def _tilt(albumentations: Any, preprocessing: Preprocessing) -> Any:
    import cv2

    return albumentations.Affine(
        scale=(0.9, 1.1), rotate=(-15, 15), shear=(-5, 5), border_mode=cv2.BORDER_REFLECT_101, p=0.7
    )


def _hole(albumentations: Any, preprocessing: Preprocessing) -> Any:
    mean = tuple(round(255 * value) for value in preprocessing.mean)
    return albumentations.CoarseDropout(
        num_holes_range=(1, 1), hole_height_range=(0.1, 0.35), hole_width_range=(0.1, 0.35), fill=mean, p=0.5
    )


CROP = Step(name="crop", words="crops", transform=partial(_crop, smallest=0.35))
LARGE_CROP = Step(name="crop", words="crops", transform=partial(_crop, smallest=0.7))
MIRROR = Step(name="mirror", words="mirror images", transform=_mirror)
FLIP = Step(name="flip", words="flips upside down", transform=_flip)
TURN = Step(name="turn", words="quarter turns", transform=_turn)
LIGHT = Step(name="light", words="changes of light", transform=_light)
COLOUR = Step(name="colour", words="changes of colour", transform=_colour)
TILT = Step(name="tilt", words="tilts", transform=_tilt)
HOLE = Step(name="hole", words="holes", transform=_hole)
STEPS = {step.name: step for step in (CROP, MIRROR, FLIP, TURN, LIGHT, COLOUR, TILT, HOLE)}

PRESETS = (
    Preset(name="none", help="what evaluation sees", steps=()),
    Preset(name="light", help="a large crop, mirrored or not", steps=(LARGE_CROP, MIRROR)),
    Preset(name="default", help="a smaller crop, mirrored or not, in other light", steps=(CROP, MIRROR, LIGHT)),
    Preset(
        name="strong",
        help="the same in other colours, turned, with a hole",
        steps=(CROP, MIRROR, LIGHT, COLOUR, TILT, HOLE),
    ),
)


def names() -> tuple[str, ...]:
    """The names of all presets."""
    return tuple(preset.name for preset in PRESETS)


def find(name: str) -> Preset | None:
    """The preset of that name, steps left out or added as the name says; None if there is none.

    >>> find("light").mirrors, find("light-mirror").mirrors, find("heavy")
    (True, False, None)
    """
    match = NAME.fullmatch(name)
    preset = next((preset for preset in PRESETS if match and preset.name == match[1]), None)
    changes = re.findall(r"([+-])(\w+)", match[2]) if match else ()
    if not preset or not changes:
        return preset
    steps = {step.name: step for step in preset.steps}
    for sign, step in changes:
        if step not in STEPS:
            return None
        if sign == "-":
            steps.pop(step, None)
        else:
            steps.setdefault(step, STEPS[step])
    return Preset(name=name, help=preset.help, steps=tuple(steps.values()))


def help_text() -> str:
    """What each preset does, and which give no mirror images, for the help of an option."""
    unmirrored = ", ".join(preset.name for preset in PRESETS if not preset.mirrors)
    return (
        f"{' '.join(f'{preset.name}: {preset.help}.' for preset in PRESETS)} Steps are tried on some photos first, of "
        f"a probe mirror images alone: one that makes one class of another is left out, {FLIP.words} and "
        f"{TURN.words} that change nothing are added, and a line says so. Obeyed as written: a preset with steps left "
        f"out or added, as default+mirror, default-mirror or default-crop+turn ({', '.join(STEPS)}), or an "
        f"albumentations JSON or YAML file. A head is fitted to mirror images only where it mirrors: not with "
        f"{unmirrored}, nor with a file without a horizontal flip."
    )
