"""Whether the augmentation keeps labels: which of its steps are left out, which are added, and what the trial takes.

python -m benchmarks.labels [--folders DIR] [--weights DIR]

Eight made sets of 120 photos. A mirror image, a turn or another light changes the labels of arrows and shoes to the
left and right, of 6 and 9, of the letters b, d, p and q, of dark and bright scenes; nothing changes those of discs,
cells and textures, nor of the folders in DIR. Backbones: cifar_resnet, embedded, and the network of --weights.
"""

import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import transferkit as tk
from benchmarks.harness import claim, signs
from transferkit import policy, presets
from transferkit.preparation import read_images
from transferkit.prepare import prepare
from transferkit.progress import Progress

FORBIDDEN = {  # steps that change labels of a set
    "arrows": {"mirror"},
    "shoes": {"mirror", "flip"},
    "sixes": {"flip", "turn"},
    "text": {"mirror", "flip", "turn"},
    "light": {"light"},
}
TRAIN, TEST = 120, 120
USUAL = {step.name for preset in presets.PRESETS if preset.name == "default" for step in preset.steps}


def main() -> None:
    claim.measured(claim.options(__doc__, repeats=1), compare)


def compare(given: Namespace) -> dict[str, Any]:
    """What is left of the default augmentation of each set and folder, for each backbone."""
    count = 40 if given.quick else TRAIN
    names = ("arrows", "cells") if given.quick else tuple(signs.SETS)
    places = [signs.write(given.scratch / name, name, train=count, test=TEST) for name in names]
    if given.folders and not given.quick:
        places += sorted(path for path in given.folders.iterdir() if path.is_dir())
    backbones = ["cifar_resnet", *([str(given.weights)] if given.weights and not given.quick else [])]
    figures, harmful, harmless = [], 0, 0
    for backbone in backbones:
        for place in places:
            used, seconds = left(place, backbone, given.scratch / "cache")
            forbidden = FORBIDDEN.get(place.name, set())
            harmful += len(forbidden & used)
            harmless += len(USUAL - forbidden - used)
            what = f"{place.name}, {Path(backbone).name}: {' '.join(sorted(used))}; the trial"
            figures.append(claim.figure(what, seconds, unit="s"))
    for augment in ("default", "default+mirror"):  # tried, and as it is written
        options = {"backbone": "cifar_resnet", "strategy": "probe", "cache_dir": str(given.scratch / "cache")}
        run = tk.finetune(places[0], out=given.scratch / augment, augment=augment, **options)
        accuracy = 100 * run.metrics["test"]["accuracy"]
        figures.append(claim.figure(f"probe of {places[0].name}, --augment {augment}", accuracy, unit="%"))
    return {
        "data": f"{len(places)} sets and folders, {len(backbones)} backbones, lp-ft, default augmentation",
        "figures": [
            claim.figure("harmful steps used", harmful, goal=claim.at_most(0)),
            claim.figure("harmless steps left out", harmless, goal=claim.at_most(0)),
            *figures,
        ],
    }


def left(place: Path, backbone: str, cache: Path) -> tuple[set[str], float]:
    """The names of the steps that are used to train on a folder, and the seconds that finding out has taken."""
    prepared = prepare(place, backbone=backbone, strategy="lp-ft", cache_dir=str(cache), precision="fp32")
    taken, config = read_images(prepared, Progress())
    started = time.perf_counter()
    _, _, config, _ = policy.tried(prepared, taken, config, Progress())
    seconds = time.perf_counter() - started
    preset = presets.find(config.augment)
    return {step.name for step in preset.steps} if preset else set(), seconds


if __name__ == "__main__":
    main()
