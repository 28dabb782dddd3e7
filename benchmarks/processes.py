"""Images a second of several gloo processes of one thread against one process of as many threads; one JSON line.

python benchmarks/processes.py [--processes 2] [--backbone resnet18] [--image-size 128] [--images 128] [--rounds 2]

Whole commands, run in turn, on generated photos and random weights: this is about speed alone. Counted are training and
validation of all epochs after the first.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from transferkit import runtime

EPOCHS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        write_photos(Path(scratch) / "photos", images=given.images)
        measured = {1: [], given.processes: []}
        for number in range(given.rounds):
            for processes, speeds in measured.items():
                speeds.append(speed(Path(scratch), given, processes=processes, run=f"{processes}-{number}"))
    speeds = {str(processes): round(statistics.median(found), 1) for processes, found in measured.items()}
    ratios = [many / one for one, many in zip(*measured.values())]
    line = {
        "claim": f"{given.processes} gloo processes of one thread against one process of {given.processes} threads",
        "images_a_second_of_processes": speeds,
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "backbone": given.backbone,
        "image_size": given.image_size,
        "images": given.images,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": runtime.versions(),
    }
    print(json.dumps(line))


def write_photos(folder: Path, *, images: int) -> None:
    """Two classes of smooth noise, as JPEG."""
    rng = np.random.default_rng(0)
    for number in range(images):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        path = folder / f"class {number % 2}" / f"{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((400, 300), Image.Resampling.BICUBIC).save(path)


def speed(scratch: Path, given: argparse.Namespace, *, processes: int, run: str) -> float:
    """Images a second of one run: those trained and validated on after the first epoch."""
    options = {"backbone": given.backbone, "image-size": given.image_size, "processes": processes, "epochs": EPOCHS}
    options |= {"weights": "none", "strategy": "finetune", "batch-size": 32, "out": scratch / run}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    threads = str(given.processes // processes)
    subprocess.run(
        [sys.executable, "-m", "transferkit", "finetune", str(scratch / "photos"), *words, "--quiet"],
        env=os.environ | {"OMP_NUM_THREADS": threads},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    records = [json.loads(line) for line in (scratch / run / "metrics.jsonl").read_text().splitlines()][1:]
    return given.images * len(records) / sum(record["seconds"] for record in records)


if __name__ == "__main__":
    main()
