"""What `transferkit rank` costs: the backbone it puts first against the one that is best on the test images.

python benchmarks/ranking.py FOLDER... [--backbones A,B,...] [--seeds 3]

Each FOLDER holds train/CLASS and test/CLASS. A probe on each backbone is judged on the test images, which took no part
in the ranking. One JSON line a folder, then the mean and the largest of what the choice lost, and what it would lose in
the mean by chance alone: if it were the best one on as many other test images.
"""

import argparse
import csv
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np

import transferkit as tk
from transferkit import flow

DRAWS = 4000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--backbones", help="all whose weights are here, if none are named")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    names = given.backbones and given.backbones.split(",")
    lost, by_chance = [], []
    for folder in given.folders:
        for seed in range(given.seeds):
            order = [each.backbone for each in flow.rank(folder, names, seed=seed)]
            right = {name: probed(folder, path, seed) for name, path in paths(order, names).items()}
            accuracies = {name: float(each.mean()) for name, each in right.items()}
            by_chance.append(chance(np.array([*right.values()])))
            lost.append(max(accuracies.values()) - accuracies[order[0]])
            line = {"folder": folder.name, "seed": seed, "order": order, "test": accuracies, "lost": round(lost[-1], 4)}
            print(json.dumps(line), flush=True)
    mean, largest, chances = statistics.mean(lost), max(lost), statistics.mean(by_chance)
    print(json.dumps({"mean": round(mean, 4), "largest": round(largest, 4), "mean by chance": round(chances, 4)}))


def paths(order: list[str], names: list[str] | None) -> dict[str, str]:
    """What each of them is called on the command line: a name, or the path of its folder."""
    given = {Path(name).name: name for name in names or []}
    return {name: given.get(name, name) for name in order}


def probed(folder: Path, backbone: str, seed: int) -> np.ndarray:
    """Which test images a probe names right. Shapes: (n,)."""
    with tempfile.TemporaryDirectory() as scratch:
        run = tk.finetune(folder, out=f"{scratch}/run", backbone=backbone, strategy="probe", seed=seed)
        with open(run.folder / "predictions.csv", newline="", encoding="utf-8") as file:
            return np.array([row["label"] == row["predicted"] for row in csv.DictReader(file)])


def chance(right: np.ndarray) -> float:
    """What the best on one draw of the images loses on another, in the mean. Shapes: networks, images (M, n)."""
    rng, count, lost = np.random.default_rng(0), right.shape[1], []
    for _ in range(DRAWS):
        known, judged = (right[:, rng.integers(0, count, count)].mean(axis=1) for _ in range(2))
        lost.append(judged.max() - judged[known.argmax()])
    return float(np.mean(lost))


if __name__ == "__main__":
    main()
