"""The augmentations that have a name: one line of `PRESETS` each."""

import re
from dataclasses import dataclass

from transferkit.augment_steps import COLOUR, CROP, FLIP, HOLE, LARGE_CROP, LIGHT, MIRROR, STEPS, TILT, TURN, Step

NAME = re.compile(r"(\w+)((?:[+-]\w+)*)")  # of a preset, and the steps that are left out or added


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
