"""L2, dropout and DropConnect against none, and what DropConnect's inference approximates."""

import copy
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import transferkit as tk
from slides import drawing
from slides.setting import Setting, few
from slides.small import SEEDS, Trained, Variant, trained
from slides.summary import compared, over_seeds
from transferkit.model.build import CifarMlp
from transferkit.tasks import SINGLE_LABEL
from transferkit.zoo.layers import DropConnectLinear

PENALTIES = {
    "adam": {"none": Variant(), "decayed": Variant(l2=3e-4)},
    "adamw": {"none": Variant(optimizer="adamw"), "decayed": Variant(optimizer="adamw", l2=1.0)},
}


def l2(setting: Setting) -> dict[str, Any]:
    """Adam with L2 in the loss and AdamW with decoupled decay, each against itself without."""
    found = {}
    for name, variants in PENALTIES.items():
        runs = {kind: [trained(setting.small, variant, seed) for seed in SEEDS] for kind, variant in variants.items()}
        for kind in variants:
            squares = {"squares": float(np.mean([_squares(run) for run in runs[kind]]))}
            found[f"{name}_{kind}"] = compared(runs[kind], baseline=runs["none"]) | squares
    return found


def _squares(run: Trained) -> float:
    """The sum of the squares of all weights."""
    return sum(weight.square().sum().item() for weight in run.network.parameters() if weight.ndim > 1)


DROPS = {
    "none": Variant(),
    "dropout": Variant(dropout=0.25),
    "strong": Variant(dropout=0.5),
    "dropconnect": Variant(dropconnect=0.5),
}
HEADS = {"none": {"optimizer": "adam"}, "dropout": {"dropout": 0.5}, "dropconnect": {"dropconnect": 0.5}, "lbfgs": {}}
FOLDER, PHOTOS = "trashnet", 10  # a class


def drop(setting: Setting) -> dict[str, Any]:
    """Dropout and DropConnect in the small network: accuracy in training and held out; writes dropout.png."""
    runs = {name: [trained(setting.small, variant, seed) for seed in SEEDS] for name, variant in DROPS.items()}
    names = {"none": "none", "dropout": "dropout 0.25", "strong": "dropout 0.5", "dropconnect": "DropConnect 0.5"}
    with drawing.picture(setting.out / "dropout.png", size=(7, 3.4)) as (axes,):
        drawing.gaps(axes, {names[name]: found for name, found in runs.items()})
    return {name: compared(found, baseline=runs["none"]) for name, found in runs.items()}


def drop_heads(setting: Setting) -> dict[str, Any]:
    """The same in a head on the frozen features of few photos, through `tk.finetune`."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, options in HEADS.items():
            found[name] = []
            for seed in SEEDS:
                data = few(setting.photos / FOLDER, PHOTOS, seed=seed, scratch=Path(scratch))
                options = options | {"strategy": "probe", "backbone": setting.backbone, "seed": seed}
                run = tk.finetune(data, out=f"{scratch}/{name}-{seed}", **options)
                found[name].append(run.metrics["test"]["accuracy"])
    return {name: over_seeds(accuracies, found["none"]) for name, accuracies in found.items()}


MASKS = (1, 3, 10, 30, 100, 300, 1000)
REFERENCE = 4000  # masks whose mean stands for that over all
IMAGES, JUDGED = 20, 500


def inference(setting: Setting) -> dict[str, Any]:
    """The mean network and the Gaussian against Monte Carlo over true masks; writes dropconnect.png."""
    return _judged(setting, trained(setting.small, DROPS["dropconnect"], 0).network)


@torch.no_grad()
def _judged(setting: Setting, network: CifarMlp) -> dict[str, Any]:
    problem = setting.small
    rows = problem.held_out.rows[:JUDGED]
    hidden = network.fc2(network.fc1((problem.images[rows] - network.mean).flatten(1)).relu()).relu()  # (n, 64)
    layer, few_images = network.fc3, hidden[:IMAGES]
    torch.manual_seed(0)
    true = _over_masks(layer, few_images, REFERENCE)
    drawn = _over_masks(layer, few_images, MASKS[-1])
    scale = true.mean(0).square().mean().sqrt()

    def error(found: Tensor) -> float:
        return ((found - true.mean(0)).square().mean().sqrt() / scale).item()

    errors = {kind: error(_predicting(layer, kind)(few_images).relu()) for kind in ("mean", "gaussian")}
    sampled = [error(drawn[:count].mean(0)) for count in MASKS]
    with drawing.picture(setting.out / "dropconnect.png", size=(6.6, 3.4)) as (axes,):
        axes.loglog(MASKS, sampled, label="Monte Carlo", **drawing.LINES[0])
        for style, (name, label) in zip(drawing.LINES[1:], (("mean", "mean network"), ("gaussian", "Gaussian"))):
            axes.loglog(MASKS[:: len(MASKS) - 1], [errors[name]] * 2, label=label, **style | {"marker": None})
        axes.set(xlabel="masks", ylabel="relative error of the\nmean activation", yticks=(0.01, 0.03, 0.1, 0.3, 1.0))
        drawing.in_percent(axes)
        drawing.label_ends(axes)
    found = {name: {"error": value} for name, value in errors.items()}
    found["monte_carlo"] = {"error_100": sampled[MASKS.index(100)], "masks": 100}
    for name in found:
        answers = _answers(network, hidden, name).numpy()
        scores = SINGLE_LABEL.scores(answers, problem.held_out.labels[rows])
        found[name] |= {"accuracy": scores["accuracy"], "loss": scores["loss"]}
    return found


def _over_masks(layer: DropConnectLinear, x: Tensor, count: int) -> Tensor:
    """The rectified outputs under `count` fresh masks. Shapes: (n, D) -> (count, n, K)."""
    layer = copy.deepcopy(layer).train()
    return torch.stack([layer(x).relu() for _ in range(count)])


def _predicting(layer: DropConnectLinear, kind: str) -> DropConnectLinear:
    """A copy for prediction, by "mean" or "gaussian"."""
    layer = copy.deepcopy(layer).eval()
    layer.inference = kind
    return layer


def _answers(network: CifarMlp, hidden: Tensor, kind: str) -> Tensor:
    """Logits behind the layer with DropConnect. Shapes: (n, D) -> (n, K)."""
    if kind == "monte_carlo":
        return network.fc(_over_masks(network.fc3, hidden, 100)).softmax(-1).mean(0).log()
    return network.fc(_predicting(network.fc3, kind)(hidden).relu())
