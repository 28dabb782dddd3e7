"""Augmentation: each of the lecture's transforms alone, and all together, against none."""

import json
import tempfile
from pathlib import Path
from typing import Any

from slides import drawing
from slides.setting import Setting
from slides.small import SEEDS, Variant, trained
from slides.summary import compared

FLIP = {"__class_fullname__": "HorizontalFlip", "p": 0.5}
BRIGHTNESS = {
    "__class_fullname__": "RandomBrightnessContrast",
    "p": 1.0,
    "brightness_limit": [-0.2, 0.2],
    "contrast_limit": [-0.2, 0.2],
}
PAD = {"__class_fullname__": "PadIfNeeded", "p": 1.0, "min_height": 40, "min_width": 40, "border_mode": 4}
CROP = {"__class_fullname__": "RandomCrop", "p": 1.0, "height": 32, "width": 32}
FILES = {"flips": [FLIP], "brightness": [BRIGHTNESS], "crops": [PAD, CROP], "all": [FLIP, PAD, CROP, BRIGHTNESS]}


def augmentation(setting: Setting) -> dict[str, Any]:
    """Held-out accuracy and its gap to that in training; writes augmentation.png."""
    runs = {"none": [trained(setting.small, Variant(), seed) for seed in SEEDS]}
    with tempfile.TemporaryDirectory() as scratch:
        for name, transforms in FILES.items():
            file = Path(scratch) / f"{name}.json"
            composed = {"__class_fullname__": "Compose", "p": 1.0, "transforms": transforms}
            file.write_text(json.dumps({"transform": composed}))
            runs[name] = [trained(setting.small, Variant(augment=str(file)), seed) for seed in SEEDS]
    names = {"brightness": "brightness,\ncontrast", "crops": "4 px\ncrops", "all": "all three"}
    with drawing.picture(setting.out / "augmentation.png", size=(7.6, 3.4)) as (axes,):
        drawing.gaps(axes, {names.get(name, name): found for name, found in runs.items()})
    return {name: compared(found, baseline=runs["none"]) for name, found in runs.items()}
