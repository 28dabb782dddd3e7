"""What transfer buys: test accuracy from scratch, frozen and fine-tuned; one JSON line a folder, backbone and way.

python benchmarks/transfer.py FOLDER... [--backbones NAME,NAME] [--ways scratch,frozen,fine-tuned] [--seed 0]

Each FOLDER holds train/CLASS and test/CLASS. The test images take part in no decision. From scratch is the same
network with random weights, trained for twice as many epochs as fine-tuning takes.
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

import transferkit as tk
from transferkit import runtime
from transferkit.config import FinetuneConfig
from transferkit.data import folder as folders
from transferkit.train.problem import are_few

SCRATCH_FACTOR = 2
WAYS = {
    "scratch": {"strategy": "finetune", "weights": "none"},
    "frozen": {"strategy": "probe"},
    "fine-tuned": {"strategy": "lp-ft"},
}
IMAGE_SIZE = {"cifar_resnet": 64}  # px; the size at which its features were best on these folders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--backbones", default="cifar_mlp,cifar_resnet")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "versions": runtime.versions()}
    for folder in given.folders:
        for backbone in given.backbones.split(","):
            for way in given.ways.split(","):
                line = {"folder": folder.name, "backbone": Path(backbone).name, "way": way}
                print(json.dumps(line | fit(folder, backbone, way, seed=given.seed) | machine), flush=True)


def fit(folder: Path, backbone: str, way: str, *, seed: int) -> dict:
    options = WAYS[way] | {"backbone": backbone, "image_size": IMAGE_SIZE.get(backbone), "seed": seed}
    if way == "scratch":
        images = int((folders.read(folder).parts == "train").sum() * 0.8)
        tuned = FinetuneConfig(data=str(folder), **WAYS["fine-tuned"]).resolved(images=images, are_few=are_few(images))
        options["epochs"] = SCRATCH_FACTOR * tuned.epochs
        options["patience"] = options["epochs"]
    with tempfile.TemporaryDirectory() as scratch:
        metrics = tk.finetune(folder, out=f"{scratch}/run", **options).metrics
    test = metrics["test"]
    interval = [round(end, 3) for end in test["interval"]]
    seconds = round(metrics["seconds"]["total"], 1)
    return {"accuracy": round(test["accuracy"], 4), "interval": interval, "n": test["n"], "seconds": seconds}


if __name__ == "__main__":
    main()
