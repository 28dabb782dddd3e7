"""What can be relied on of answers: calibration, errors among the sure ones, and photos of something else.

python benchmarks/trust.py FOLDER... [--backbone NAME | --join NAME,NAME] [--strategies probe,lp-ft] [--seeds 0,1,2]

Each FOLDER holds train/CLASS and test/CLASS. A classifier of one is shown its own test photos and up to 100 test photos
of each of the others. One JSON line a run; then the means. With --join it is that of several runs joined, "ece
before" that of their mean as it is.
"""

import argparse
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

import transferkit as tk
from transferkit import metrics
from transferkit.ship import unseen_file
from transferkit.ship.classifier import Classifier
from transferkit.ship.ensemble import join

ERRORS = (0.02, 0.05, 0.10)
MOST = 100  # photos of another folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--backbone", default="auto", help="a name, A+B, or the path of a model folder")
    parser.add_argument("--join", metavar="NAME,NAME", help="an ensemble of a run with each of these backbones")
    parser.add_argument("--strategies", default="probe,lp-ft")
    parser.add_argument("--seeds", default="0,1,2")
    given = parser.parse_args()
    lines = []
    for folder in given.folders:
        others = [other for other in given.folders if other != folder]
        for strategy in given.strategies.split(","):
            for seed in map(int, given.seeds.split(",")):
                options, names = {"strategy": strategy, "seed": seed}, given.join or given.backbone
                found = judged(folder, others, names.split(",") if given.join else [names], **options)
                lines.append({"folder": folder.name, **options, "backbone": names} | found)
                print(json.dumps(lines[-1]), flush=True)
    print(json.dumps({"mean of": len(lines)} | means(lines)))


def judged(folder: Path, others: list[Path], backbones: list[str], **options) -> dict:
    """What a run on `folder` comes to, or the ensemble of a run with each of the backbones."""
    with tempfile.TemporaryDirectory() as scratch:
        runs = [
            tk.finetune(folder, out=f"{scratch}/{number}", backbone=name, **options)
            for number, name in enumerate(backbones)
        ]
        classifier, block = runs[0].classifier, runs[0].metrics["calibration"]
        if len(runs) > 1:
            classifier, block = joined([run.folder for run in runs], folder, Path(scratch))
        own = {error: list(classifier.stream(photos(folder), max_error=error)) for error in ERRORS}
        every = list(classifier.stream(photos(folder), top=len(classifier.classes)))
        foreign = list(classifier.stream(photo for other in others for photo in thinned(photos(other))))
    found = {"temperature": block["temperature"], "ece before": block["before"]["ece"], "ece": block["after"]["ece"]}
    found["ece by chance"] = error_by_chance(np.array([each.top[0][1] for each in every]))
    found["temperature best on test"] = block["temperature"] * further_temperature(every)
    for error, predictions in own.items():
        sure = [each for each in predictions if each.is_sure]
        found[f"answered at {error}"] = len(sure) / len(predictions)
        found[f"wrong at {error}"] = float(np.mean([is_wrong(each) for each in sure])) if sure else None
    found["own called unlike"] = float(np.mean([not each.is_familiar for each in own[ERRORS[0]]]))
    found["foreign called unlike"] = float(np.mean([not each.is_familiar for each in foreign])) if foreign else None
    return found


def joined(runs: list[Path], folder: Path, scratch: Path) -> tuple[Classifier, dict]:
    """The ensemble of runs, its temperature, and its calibration error with and without."""
    made = join(runs, scratch / "ensemble", data=folder / "test")
    (runs[0] / unseen_file.FILE).unlink()
    plain = join(runs, scratch / "plain", data=folder / "test")
    errors = {name: {"ece": each.scores["ece"]} for name, each in (("before", plain), ("after", made))}
    return made.classifier, made.calibration | errors


def error_by_chance(confidence: np.ndarray) -> float:
    """The calibration error of answers that are right exactly as often as they say; the mean of 200 draws."""
    rng = np.random.default_rng(0)
    draws = (rng.random(len(confidence)) < confidence for _ in range(200))
    return float(np.mean([metrics.calibration_error(confidence, right) for right in draws]))


def further_temperature(predictions) -> float:
    """What the logits of the answers must still be divided by for the least log loss."""
    logs = [np.log(np.maximum([p for _, p in each.top], 1e-12)) for each in predictions]
    right = [[name for name, _ in each.top].index(Path(each.source).parent.name) for each in predictions]
    tried = np.exp(np.linspace(-2, 2, 401))
    losses = [sum(np.log(np.exp(x / t).sum()) - (x / t)[k] for x, k in zip(logs, right)) for t in tried]
    return float(tried[np.argmin(losses)])


def photos(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "test").rglob("*") if path.is_file())


def thinned(paths: list[Path]) -> list[Path]:
    return [paths[k] for k in np.linspace(0, len(paths) - 1, min(MOST, len(paths))).round().astype(int)]


def is_wrong(prediction) -> bool:
    return prediction.label != Path(prediction.source).parent.name


def means(lines: Iterable[dict]) -> dict:
    """The mean of every number that the lines share, where it is known."""
    lines = list(lines)
    numbers = [name for name, value in lines[0].items() if not isinstance(value, str) and name != "seed"]
    return {
        name: float(np.mean(known)) if (known := [line[name] for line in lines if line[name] is not None]) else None
        for name in numbers
    }


if __name__ == "__main__":
    main()
