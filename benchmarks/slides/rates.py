"""Learning rates and their schedules."""

import math
import tempfile
from typing import Any

import numpy as np

import transferkit as tk
from slides import drawing
from slides.setting import Setting
from slides.small import SEEDS, Variant, trained
from slides.summary import compared
from transferkit import flow
from transferkit.choices import SCHEDULES
from transferkit.ship import curves as curves_page
from transferkit.ship import lr_curves
from transferkit.train.schedule import Schedule, exponential, inverse

FOLDER = "hymenoptera"


def four_rates(setting: Setting) -> dict[str, Any]:
    """`transferkit lr` through a head and through the network; writes rates-head.png and rates-network.png."""
    found = {}
    for through, chosen in (
        ("head", {"batch_size": 64}),
        ("network", {"batch_size": 24, "steps": 32, "optimizer": "momentum"}),
    ):
        options = chosen | {"backbone": setting.backbone}
        suggestion = flow.try_rates(setting.photos / FOLDER, through=through, **options)
        drawing.save(lr_curves.figure(suggestion), setting.out / f"rates-{through}.png", dpi=85)
        found[through] = {
            "lr": suggestion.lr,
            "span": suggestion.span,
            "words": dict(zip((f"{trial.lr:.2g}" for trial in suggestion.trials), suggestion.words)),
        }
    return found


EPOCHS, STEPS = 20, 50
K = 0.15  # an epoch, of the decays drawn beside their compounding forms
PANELS = {
    "decays": ("constant", "step", "exponential", "inverse"),
    "waves": ("cosine", "onecycle", "snapshot"),
}


def shapes(setting: Setting) -> dict[str, Any]:
    """The seven schedules, and two of them beside the recursions that compound; writes schedules.png."""
    time = [step / STEPS for step in range(EPOCHS * STEPS)]
    with drawing.picture(setting.out / "schedules.png", panels=3, size=(13, 3.6)) as (decays, waves, recursions):
        for axes, names in ((decays, PANELS["decays"]), (waves, PANELS["waves"])):
            for style, name in zip(drawing.LINES, names):
                schedule = Schedule(name=name, epochs=EPOCHS, cycles=4)
                factors = [schedule.factor(step, steps_per_epoch=STEPS) for step in range(len(time))]
                axes.plot(time, factors, label=name, markevery=3 * STEPS, **style)
        kinds = ((exponential, False), (exponential, True), (inverse, False), (inverse, True))
        for style, (decay, compounding) in zip(drawing.LINES, kinds):
            factors = [decay(t, k=K, compounding=compounding) for t in time]
            label = decay.__name__ + (",\ncompounding" if compounding else "")
            recursions.semilogy(time, factors, label=label, markevery=3 * STEPS, **style)
        decays.set_ylabel("learning rate over its start")
        recursions.set_ylim(1e-8, 2)
        for axes in (decays, waves, recursions):
            axes.set(xlabel="epoch", xticks=range(0, EPOCHS + 1, 5))
            drawing.label_ends(axes)
    return {
        decay.__name__: {
            "closed": decay(10, k=K),
            "compounding": decay(10, k=K, compounding=True),
            "thousandth": next(t for t in range(1000) if decay(t, k=K, compounding=True) < 1e-3),
        }
        for decay in (exponential, inverse)
    } | {"k": {"value": K, "closed_thousandth": math.ceil(math.log(1000) / K)}}


def schedules(setting: Setting) -> dict[str, Any]:
    """What each schedule reaches with the same network, images and number of epochs."""
    found, baseline = {}, []
    for name in SCHEDULES:  # the first is "constant"
        variant = Variant(schedule=name, cycles=4 if name == "snapshot" else 1)
        runs = [trained(setting.small, variant, seed) for seed in SEEDS]
        baseline = baseline or runs
        loss = float(np.mean([run.records[-1]["train"]["loss"] for run in runs]))
        found[name] = compared(runs, baseline=baseline) | {"train_loss": loss}
    return found


KEPT = {"ensemble": "the ensemble of its four snapshots", "single": "the last of its four snapshots"}


def curves(setting: Setting) -> dict[str, Any]:
    """The curves of one run of `transferkit finetune`; writes curves.png."""
    with tempfile.TemporaryDirectory() as scratch:
        options = {"strategy": "probe", "snapshots": 4, "epochs": 32, "lr": 0.01}
        run = tk.finetune(setting.photos / "trashnet", out=f"{scratch}/run", backbone=setting.backbone, **options)
        lines, chosen = curves_page.read(run.folder), run.metrics["snapshots"]["chosen"]
        figure = list(curves_page.draw(lines, chosen=chosen).values())[-1]
        drawing.save(figure, setting.out / "curves.png", dpi=100)
    scores = {part: run.metrics[part]["accuracy"] for part in ("val", "test")}
    return {"run": scores | {"kept": KEPT[chosen]}}
