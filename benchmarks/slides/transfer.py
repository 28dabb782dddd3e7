"""From scratch against transfer on few photos, and the lecture's own transfer: a frozen MLP with a new head."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import transferkit as tk
from slides import drawing
from slides.setting import Setting, few
from slides.small import SEEDS
from slides.summary import over_seeds

FOLDER, IMAGE_SIZE = "hymenoptera", 64
EPOCHS = {5: 15, 20: 6, None: 3}  # by training images a class: the time a CPU has, not the best there is
WAYS = {
    "scratch": {"strategy": "finetune", "weights": "none"},
    "frozen": {"strategy": "probe"},
    "finetune": {"strategy": "lp-ft"},
}
NAMES = {"scratch": "from scratch", "frozen": "frozen, new head", "finetune": "fine-tuned"}


def transfer(setting: Setting) -> dict[str, Any]:
    """Test accuracy by way and number of images; writes transfer.png. Where all are taken there is one run."""
    accuracies = {way: {} for way in WAYS}
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for count, epochs in EPOCHS.items():
            for way, options in WAYS.items():
                runs = []
                for seed in SEEDS if count else SEEDS[:1]:
                    data = few(setting.photos / FOLDER, count, seed=seed, scratch=Path(scratch))
                    options = options | {"backbone": setting.backbone, "image_size": IMAGE_SIZE, "seed": seed}
                    options |= {} if way == "frozen" else {"epochs": epochs}
                    runs.append(tk.finetune(data, out=f"{scratch}/{count}-{way}-{seed}", **options).metrics)
                accuracies[way][count] = [run["test"]["accuracy"] for run in runs]
                seconds = float(np.mean([run["seconds"]["total"] for run in runs]))
                cost = {"epochs": None if way == "frozen" else epochs, "seconds": seconds}
                found[f"{way}_{count or 'all'}"] = over_seeds(accuracies[way][count]) | cost
    with drawing.picture(setting.out / "transfer.png", size=(7, 3.6)) as (axes,):
        for style, (way, by_count) in zip(drawing.LINES, accuracies.items()):
            places, means = range(len(by_count)), [np.mean(values) for values in by_count.values()]
            axes.plot(places, means, label=NAMES[way], **style)
            for place, values in zip(places, by_count.values()):
                axes.plot([place] * len(values), values, color=style["color"], marker=".", linestyle="none", alpha=0.6)
        axes.set_xticks(range(len(EPOCHS)), [f"{count} a class" if count else "all" for count in EPOCHS])
        axes.set(xlabel="training images", ylabel="test accuracy", xlim=(-0.2, len(EPOCHS) - 0.8))
        drawing.in_percent(axes)
        drawing.label_ends(axes)
    return found


def frozen_mlp(setting: Setting) -> dict[str, Any]:
    """The lecture's 3072-10000-1000-100 network, frozen under a new head, on the same photos."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for count in EPOCHS:
            accuracies = []
            for seed in SEEDS if count else SEEDS[:1]:
                data = few(setting.photos / FOLDER, count, seed=seed, scratch=Path(scratch))
                options = {"backbone": "cifar_mlp", "freeze": "backbone", "seed": seed}
                run = tk.finetune(data, out=f"{scratch}/{count}-{seed}", **options)
                accuracies.append(run.metrics["test"]["accuracy"])
            found[str(count or "all")] = over_seeds(accuracies)
    return found
