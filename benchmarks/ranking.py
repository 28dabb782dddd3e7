"""What `transferkit rank` costs: the backbone it puts first against the one that is best on the test images.

python benchmarks/ranking.py FOLDER... [--backbones A,B,...] [--seeds 3]

Each FOLDER holds train/CLASS and test/CLASS. A probe on each backbone is judged on the test images, which took no part
in the ranking. One JSON line a folder, then the mean and the largest of what the choice lost.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import transferkit as tk
from transferkit import flow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--backbones", help="all whose weights are here, if none are named")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    names = given.backbones and given.backbones.split(",")
    lost = []
    for folder in given.folders:
        for seed in range(given.seeds):
            order = [each.backbone for each in flow.rank(folder, names, seed=seed)]
            accuracies = {name: probed(folder, path, seed) for name, path in paths(order, names).items()}
            lost.append(max(accuracies.values()) - accuracies[order[0]])
            line = {"folder": folder.name, "seed": seed, "order": order, "test": accuracies, "lost": round(lost[-1], 4)}
            print(json.dumps(line), flush=True)
    print(json.dumps({"mean": round(statistics.mean(lost), 4), "largest": round(max(lost), 4)}))


def paths(order: list[str], names: list[str] | None) -> dict[str, str]:
    """What each of them is called on the command line: a name, or the path of its folder."""
    given = {Path(name).name: name for name in names or []}
    return {name: given.get(name, name) for name in order}


def probed(folder: Path, backbone: str, seed: int) -> float:
    """The test accuracy of a probe."""
    with tempfile.TemporaryDirectory() as scratch:
        run = tk.finetune(folder, out=f"{scratch}/run", backbone=backbone, strategy="probe", seed=seed)
    return run.metrics["test"]["accuracy"]


if __name__ == "__main__":
    main()
