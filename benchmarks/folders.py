"""Test accuracy of strategies on image folders, mean over seeds; one JSON line a folder and strategy.

python benchmarks/folders.py FOLDER... [--backbone NAME] [--strategies probe,auto] [--seeds 3] [--epochs N] [--tta]

Each FOLDER holds train/CLASS and test/CLASS. The test images take part in no decision.
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

import transferkit as tk
from transferkit import runtime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--backbone", default="auto", help="a name, A+B, or the path of a model folder")
    parser.add_argument("--strategies", default="probe,lp-ft,auto")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--tta", action="store_true")
    given = parser.parse_args()
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "versions": runtime.versions()}
    options = {"backbone": given.backbone, "tta": given.tta} | ({"epochs": given.epochs} if given.epochs else {})
    for folder in given.folders:
        for strategy in given.strategies.split(","):
            runs = [fit(folder, strategy=strategy, seed=seed, **options) for seed in range(given.seeds)]
            line = {"folder": folder.name, "strategy": strategy, **summary(runs), "backbone": runs[0]["backbone"]}
            print(json.dumps(line | machine), flush=True)


def fit(folder: Path, **options) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        return tk.finetune(folder, out=f"{scratch}/run", **options).metrics


def summary(runs: list[dict]) -> dict:
    accuracies = [run["test"]["accuracy"] for run in runs]
    return {
        "accuracy": round(sum(accuracies) / len(accuracies), 4),
        "accuracies": [round(accuracy, 4) for accuracy in accuracies],
        "n": runs[0]["test"]["n"],
        "kept": [run["chosen"] for run in runs],
        "seconds": round(sum(run["seconds"]["total"] for run in runs) / len(runs), 1),
    }


if __name__ == "__main__":
    main()
