"""What a learning curve foretells: half of the training photos are hidden, and the accuracy with all of them forecast.

python benchmarks/learning_curve.py FOLDER... [--backbone NAME] [--seeds 8]

Each FOLDER holds train/CLASS and test/CLASS. What is foretold is the accuracy that a probe of all training photos has
out of five folds, each of which it fits to four fifths of them. One JSON line a folder and seed, in per cent: with half
of the photos, foretold with all, its 95 % interval, and what it was; on the test photos too, where all photos are
fitted. `seconds` is what the curve took, `solved` what the probe took. Then the mean of the errors. "by chance" is what
the accuracy with half of the photos differs by, from one half to another: no forecast from a half can be nearer.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from transferkit import policy
from transferkit.messages import Reporter
from transferkit.preparation import problem_of, read_images
from transferkit.prepare import prepare
from transferkit.progress import Progress
from transferkit.train import head, learning_curve
from transferkit.train.context import FitContext
from transferkit.train.head import ProbeFit
from transferkit.train.problem import Problem


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--seeds", type=int, default=8)
    given = parser.parse_args()
    lines = []
    for folder in given.folders:
        for seed in range(given.seeds):
            lines.append({"folder": folder.name, "seed": seed} | foretold(*opened(folder, given.backbone, seed)))
            print(json.dumps(lines[-1]), flush=True)
    errors = [abs(line["foretold"] - line["was"]) for line in lines]
    unchanged = [abs(line["half"] - line["was"]) for line in lines]
    inside = [line["interval"][0] <= line["was"] <= line["interval"][1] for line in lines]
    on_test = [line["on test, foretold"] - line["on test"] for line in lines]
    summary = {
        "mean error": statistics.mean(errors),
        "largest": max(errors),
        "if nothing changed": statistics.mean(unchanged),
        "by chance": statistics.mean(by_chance(lines, folder.name) for folder in given.folders),
        "in the interval": statistics.mean(inside),
        "on test": statistics.mean(map(abs, on_test)),
        "seconds": statistics.mean(line["seconds"] for line in lines),
        "solved": statistics.mean(line["solved"] for line in lines),
    }
    print(json.dumps({name: round(value, 2) for name, value in summary.items()}))


def by_chance(lines: list[dict[str, Any]], folder: str) -> float:
    """The mean distance from their mean of what halves of a folder have to go before they are as the whole."""
    ways = np.array([line["half"] - line["was"] for line in lines if line["folder"] == folder])
    return float(abs(ways - ways.mean()).mean())


def opened(folder: Path, backbone: str, seed: int) -> tuple[Problem, np.ndarray]:
    """The probe of a folder as `finetune` has it, and its test images."""
    prepared = prepare(folder, backbone=backbone, strategy="probe", seed=seed)
    prepared, taken, config, _ = policy.tried(prepared, *read_images(prepared, Progress()), Progress())
    context = FitContext(plan=None, patience=config.patience, reporter=Reporter())
    problem = problem_of(config, taken, prepared, context=context)
    return problem, np.flatnonzero(taken.listing.parts == "test")


def foretold(problem: Problem, test: np.ndarray) -> dict[str, Any]:
    """What the curve of half of the images says of all, and what a probe of all comes to."""
    whole, half = solved(problem), halved(problem)
    started = time.perf_counter()
    found = solved(half)
    solving = time.perf_counter() - started
    started = time.perf_counter()
    curve = learning_curve.measure(half, found)
    seconds = time.perf_counter() - started
    assert curve is not None
    sizes, *ends = np.array(curve["line"]).T
    at = (1 - 1 / head.FOLDS) * len(whole.rows)
    accuracy, low, high = (100 * float(np.interp(np.log(at), np.log(sizes), each)) for each in ends)
    on_test = problem.train.task.right(whole.final.predict(problem.features.plain, test), problem.train.labels[test])
    figures = {
        "half": 100 * right(half, found),
        "foretold": accuracy,
        "was": 100 * right(problem, whole),
        "on test, foretold": 100 * curve["twice"][1],
        "on test": 100 * float(on_test.mean()),
        "seconds": seconds,
        "solved": solving,
    }
    return {name: round(value, 2) for name, value in figures.items()} | {"interval": [round(low, 1), round(high, 1)]}


def halved(problem: Problem) -> Problem:
    """The same with half of the images hidden."""
    train, val = problem.train, problem.val
    both = np.sort(np.concatenate([train.rows, val.rows]))
    groups = None if problem.groups is None else problem.groups[both]
    seed = problem.hyperparameters.seed
    kept = both[train.task.stratified(train.labels[both], 0.5, seed=seed, groups=groups)]
    parts = (replace(each, rows=np.intersect1d(each.rows, kept)) for each in (train, val))
    return replace(problem, **dict(zip(("train", "val"), parts)))


def solved(problem: Problem) -> ProbeFit:
    return head.solve(problem, l2=None)


def right(problem: Problem, found: ProbeFit) -> float:
    """The accuracy out of folds."""
    return float(problem.train.task.right(found.logits, problem.train.labels[found.rows]).mean())


if __name__ == "__main__":
    main()
