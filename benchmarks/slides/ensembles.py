"""Ensembles: of independent runs, and of the snapshots of one run at the cost of one run."""

import copy
import tempfile
import time
from pathlib import Path
from typing import Any

import transferkit as tk
from slides import drawing
from slides.setting import Setting
from slides.small import EPOCHS, SEEDS, SmallCifar, Trained, Variant, accuracy, hits, logits_of, trained
from slides.summary import over_seeds, paired
from transferkit.ship.classifier import Classifier
from transferkit.ship.ensemble import join
from transferkit.tasks import SINGLE_LABEL
from transferkit.train.schedule import Schedule

CYCLES = 4
FOLDER, HEAD_EPOCHS, LR = "trashnet", 40, 0.01  # the rate that `transferkit lr` finds good


def snapshots(setting: Setting) -> dict[str, Any]:
    """One cosine over all epochs against the snapshots of cycles, in as many epochs; writes snapshots.png."""
    problem = setting.small
    single = [trained(problem, Variant(), seed).accuracy for seed in SEEDS]
    cycled = [trained(problem, Variant(schedule="snapshot", cycles=CYCLES), seed) for seed in SEEDS]
    last = [run.accuracy for run in cycled]
    averaged = [SINGLE_LABEL.mean(run.logits) for run in cycled]
    joint = [accuracy(logits, problem.held_out) for logits in averaged]
    gain = paired(
        [hits(logits, problem.held_out) for logits in averaged],
        baseline=[hits(run.logits[-1], problem.held_out) for run in cycled],
    )
    with drawing.picture(setting.out / "snapshots.png", panels=2, size=(10, 3.6)) as (left, right):
        left.plot(_rates("cosine"), label="one cosine", markevery=15, **drawing.LINES[0])
        left.plot(_rates("snapshot"), label=f"{CYCLES} cycles", markevery=15, **drawing.LINES[1])
        left.set(xlabel="epoch", ylabel="learning rate over its start", xticks=range(0, 20 * EPOCHS + 1, 100))
        left.xaxis.set_major_formatter(lambda step, _: f"{step / 20:g}")
        drawing.label_ends(left)
        groups = {"one\ncosine": single, "last\nsnapshot": last, f"{CYCLES} snapshots\naveraged": joint}
        drawing.bars(right, {name: {"seed": values} for name, values in groups.items()})
        right.set_ylabel("held-out accuracy")
        drawing.in_percent(right)
    return {
        "single": over_seeds(single),
        "last": over_seeds(last, single),
        "ensemble": over_seeds(joint, single),
        "over_last": gain,
    }


def _rates(name: str) -> list[float]:
    schedule = Schedule(name=name, epochs=EPOCHS, cycles=CYCLES)
    return [schedule.factor(step, steps_per_epoch=20) for step in range(20 * EPOCHS)]


def snapshot_heads(setting: Setting) -> dict[str, Any]:
    """The same for heads on frozen features, through `tk.finetune`; what is shipped is scored on test images."""
    photos = setting.photos / FOLDER
    accuracies, kept = {"single": [], "shipped": []}, 0
    with tempfile.TemporaryDirectory() as scratch:
        for seed in SEEDS:
            shared = {"strategy": "probe", "backbone": setting.backbone, "epochs": HEAD_EPOCHS, "seed": seed, "lr": LR}
            single = tk.finetune(photos, out=f"{scratch}/single-{seed}", optimizer="adam", **shared)
            cycled = tk.finetune(photos, out=f"{scratch}/cycled-{seed}", snapshots=CYCLES, **shared)
            accuracies["single"].append(single.metrics["test"]["accuracy"])
            accuracies["shipped"].append(cycled.metrics["test"]["accuracy"])
            kept += cycled.metrics["snapshots"]["chosen"] == "ensemble"
    return {
        "single": over_seeds(accuracies["single"]),
        "shipped": over_seeds(accuracies["shipped"], accuracies["single"]) | {"kept": kept},
    }


def independent(setting: Setting) -> dict[str, Any]:
    """Networks trained from different seeds, their softmax outputs averaged."""
    problem = setting.small
    runs = [trained(problem, Variant(), seed) for seed in SEEDS]
    joint = SINGLE_LABEL.mean([run.logits[-1] for run in runs])
    return {
        "networks": {
            "members": over_seeds([run.accuracy for run in runs]),
            "ensemble": accuracy(joint, problem.held_out),
            "weights_averaged": _averaged(problem, runs),
        }
    }


def _averaged(problem: SmallCifar, runs: list[Trained]) -> float:
    """The accuracy of the one network that has the mean of the members' weights."""
    mean = copy.deepcopy(runs[0].network)
    states = [run.network.state_dict() for run in runs]
    mean.load_state_dict({name: sum(state[name] for state in states) / len(states) for name in states[0]})
    return accuracy(logits_of(mean, problem, problem.held_out), problem.held_out)


def joined(setting: Setting) -> dict[str, Any]:
    """`transferkit ensemble` of heads that `tk.finetune` fits with different seeds, and what the ensemble costs."""
    photos = setting.photos / FOLDER
    with tempfile.TemporaryDirectory() as scratch:
        options = {"strategy": "probe", "backbone": setting.backbone, "optimizer": "adam"}
        runs = [tk.finetune(photos, out=f"{scratch}/{seed}", seed=seed, **options) for seed in SEEDS]
        joint = join([run.folder for run in runs], f"{scratch}/joint", data=photos)
        alone, together = (_seconds(classifier, photos) for classifier in (runs[0].classifier, joint.classifier))
    found = {
        "members": over_seeds([member["accuracy"] for member in joint.scores["members"]]),
        "ensemble": joint.scores["accuracy"],
        "passes": joint.passes,
        "seconds_ratio": together / alone,
    }
    return {"heads": found}


def _seconds(classifier: Classifier, photos: Path) -> float:
    """The shortest of three passes over the test images, in seconds of the processor."""
    taken = []
    for _ in range(3):
        started = time.process_time()
        classifier.evaluate(photos)
        taken.append(time.process_time() - started)
    return min(taken)
