"""The steps that augmentations are made of, each as albumentations makes it, and as torchvision does where that is not.

Nothing heavy is imported here: `data/augment.py` hands the module of either over when the first view is made.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from transferkit.zoo.card import Preprocessing

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor

ALBUMENTATIONS, TORCHVISION = "albumentations", "torchvision"  # engines
RATIO = (3 / 4, 4 / 3)  # of a crop's width to its height
LIGHTER = (-0.2, 0.2)  # of full brightness that is added, and of what levels are multiplied by
SATURATION, HUE = (0.6, 1.4), (-0.05, 0.05)  # times as much; of the circle of colours
SCALE, ROTATION, SHEAR = (0.9, 1.1), (-15, 15), (-5, 5)  # of each side; degrees
HOLE_SIDE = (0.1, 0.35)  # of each side

Transform = Callable[[Any, Preprocessing], Any]
View = Callable[[Any, "Tensor", "Generator", Preprocessing], "Tensor"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One transform of a preset.

    Args: name, by which `--augment` leaves it out or adds it; words, what it makes of photos, in the plural; p, how
    often it is drawn; transform, what makes it of the module albumentations for what a network expects; view, the same
    of a photo (3, H, W) uint8, by the functions of torchvision.transforms.v2 and with random numbers from a generator.
    """

    name: str
    words: str
    p: float = 1
    transform: Transform
    view: View


def _crop(albumentations: Any, preprocessing: Preprocessing, *, smallest: float) -> Any:
    """Args: smallest, the least share of the photo that a crop shows."""
    import cv2

    return albumentations.RandomResizedCrop(
        preprocessing.size_px,
        scale=(smallest, 1.0),
        ratio=RATIO,
        interpolation=cv2.INTER_CUBIC,
        area_for_downscale="image",  # pixels are averaged where the crop shrinks: taking every n-th would alias
    )


def _crop_view(
    functional: Any, photo: "Tensor", rng: "Generator", preprocessing: Preprocessing, *, smallest: float
) -> "Tensor":
    height, width = photo.shape[1:]
    for _ in range(10):
        area = rng.uniform(smallest, 1.0) * height * width
        ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < h <= height and 0 < w <= width:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            break
    else:  # the photo is long: its middle
        h, w = min(height, round(width / RATIO[0])), min(width, round(height * RATIO[1]))
        top, left = (height - h) // 2, (width - w) // 2
    size = list(preprocessing.size_px)
    return functional.resized_crop(
        photo, top, left, h, w, size, interpolation=functional.InterpolationMode.BICUBIC, antialias=True
    )


def _mirror(albumentations: Any, preprocessing: Preprocessing) -> Any:
    return albumentations.HorizontalFlip()


def _mirror_view(functional: Any, photo: "Tensor", rng: "Generator", preprocessing: Preprocessing) -> "Tensor":
    return functional.horizontal_flip(photo)


def _flip(albumentations: Any, preprocessing: Preprocessing) -> Any:
    return albumentations.VerticalFlip()


def _flip_view(functional: Any, photo: "Tensor", rng: "Generator", preprocessing: Preprocessing) -> "Tensor":
    return functional.vertical_flip(photo)


def _turn(albumentations: Any, preprocessing: Preprocessing) -> Any:
    return albumentations.RandomRotate90()  # by 0, 1, 2 or 3 quarters


def _turn_view(functional: Any, photo: "Tensor", rng: "Generator", preprocessing: Preprocessing) -> "Tensor":
    return photo.rot90(int(rng.integers(4)), (1, 2))


def _light(albumentations: Any, preprocessing: Preprocessing) -> Any:
    return albumentations.RandomBrightnessContrast(brightness_limit=LIGHTER, contrast_limit=LIGHTER)


def _light_view(functional: Any, photo: "Tensor", rng: "Generator", preprocessing: Preprocessing) -> "Tensor":
    """Not `adjust_brightness` and `adjust_contrast`, which multiply, and stretch around the mean."""
    contrast, brightness = 1 + rng.uniform(*LIGHTER), 255 * rng.uniform(*LIGHTER)
    return (photo * contrast + brightness).round().clamp(0, 255).byte()


def _colour(albumentations: Any, preprocessing: Preprocessing) -> Any:
    return albumentations.ColorJitter(brightness=0, contrast=0, saturation=SATURATION, hue=HUE)


def _colour_view(functional: Any, photo: "Tensor", rng: "Generator", preprocessing: Preprocessing) -> "Tensor":
    changes = (functional.adjust_saturation, rng.uniform(*SATURATION)), (functional.adjust_hue, rng.uniform(*HUE))
    for place in rng.permutation(len(changes)):
        adjust, amount = changes[place]
        photo = adjust(photo, amount)
    return photo


def _tilt(albumentations: Any, preprocessing: Preprocessing) -> Any:
    import cv2

    return albumentations.Affine(scale=SCALE, rotate=ROTATION, shear=SHEAR, border_mode=cv2.BORDER_REFLECT_101)


def _tilt_view(functional: Any, photo: "Tensor", rng: "Generator", preprocessing: Preprocessing) -> "Tensor":
    """By torch's sampling, which reflects at the border and scales each side by itself; `affine` does neither."""
    import torch
    from torch.nn.functional import grid_sample

    scale, shear = torch.from_numpy(rng.uniform(*SCALE, size=2)).diag(), torch.eye(2, dtype=torch.float64)
    shear[0, 1], shear[1, 0] = torch.from_numpy(rng.uniform(*SHEAR, size=2)).deg2rad().tan()
    angle = math.radians(rng.uniform(*ROTATION))
    turn = scale.new_tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    y, x = (torch.arange(length, dtype=torch.float64) - (length - 1) / 2 for length in photo.shape[1:])
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)  # (H, W, 2), from the middle
    sources = places @ (shear @ turn @ scale).inverse().T
    half = sources.new_tensor([max(length - 1, 1) / 2 for length in (len(x), len(y))])
    grid = (sources / half).float()[None]
    found = grid_sample(photo[None].float(), grid, padding_mode="reflection", align_corners=True)
    return found[0].round().byte()


def _hole(albumentations: Any, preprocessing: Preprocessing) -> Any:
    return albumentations.CoarseDropout(
        num_holes_range=(1, 1), hole_height_range=HOLE_SIDE, hole_width_range=HOLE_SIDE, fill=_mean(preprocessing)
    )


def _hole_view(functional: Any, photo: "Tensor", rng: "Generator", preprocessing: Preprocessing) -> "Tensor":
    height, width = photo.shape[1:]
    h, w = int(height * rng.uniform(*HOLE_SIDE)), int(width * rng.uniform(*HOLE_SIDE))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    return functional.erase(photo, top, left, h, w, photo.new_tensor(_mean(preprocessing))[:, None, None])


def _mean(preprocessing: Preprocessing) -> tuple[int, ...]:
    return tuple(round(255 * value) for value in preprocessing.mean)


CROP, LARGE_CROP = (
    Step(
        name="crop",
        words="crops",
        transform=partial(_crop, smallest=smallest),
        view=partial(_crop_view, smallest=smallest),
    )
    for smallest in (0.35, 0.7)
)
MIRROR = Step(name="mirror", words="mirror images", p=0.5, transform=_mirror, view=_mirror_view)
FLIP = Step(name="flip", words="flips upside down", p=0.5, transform=_flip, view=_flip_view)
TURN = Step(name="turn", words="quarter turns", transform=_turn, view=_turn_view)
LIGHT = Step(name="light", words="changes of light", p=0.5, transform=_light, view=_light_view)
COLOUR = Step(name="colour", words="changes of colour", p=0.8, transform=_colour, view=_colour_view)
TILT = Step(name="tilt", words="tilts", p=0.7, transform=_tilt, view=_tilt_view)
HOLE = Step(name="hole", words="holes", p=0.5, transform=_hole, view=_hole_view)
STEPS = {step.name: step for step in (CROP, MIRROR, FLIP, TURN, LIGHT, COLOUR, TILT, HOLE)}
