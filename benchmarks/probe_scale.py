"""Cost and memory of the probe against the number of images, on generated features; one JSON line a number.

python benchmarks/probe_scale.py [--images 1000 10000 100000] [--features 2048] [--classes 10] [--largest]

The features of CLASSES clouds lie in one file, on disk as a run would keep them, and each image is in two views. A
fifth of the images validates. Every number of images is measured in a process of its own; `private_mb` is the most that
it held at any time beyond the file and what importing had taken. --largest is 1,000,000 images whose mirrored view is
the plain one, 8 GB on disk: each pass reads them twice.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

BLOCK = 10_000  # rows made at a time
AXES = 64  # directions of large spread
LARGEST = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="where the file lies while it is needed")
    parser.add_argument("--largest", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.images[0], given.features, given.classes)))
        return
    for images in given.images + ([LARGEST] if given.largest else []):
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            file = Path(folder, "features")
            make(file, images, given.features, given.classes)
            sizes = ["--images", images, "--features", given.features, "--classes", given.classes]
            command = [sys.executable, __file__, "--measure", file, *sizes]
            print(
                subprocess.run([str(part) for part in command], check=True, text=True, capture_output=True).stdout,
                end="",
            )
            sys.stdout.flush()


def make(file: Path, images: int, features: int, classes: int) -> None:
    """Write overlapping clouds with some directions of large spread, as a network's features have; and noise."""
    rng = np.random.default_rng(0)
    axes = (
        rng.standard_normal((AXES, features), np.float32) * (np.arange(1, AXES + 1, dtype=np.float32) ** -0.5)[:, None]
    )
    centres = 0.6 * rng.standard_normal((classes, AXES), np.float32)
    noise = rng.standard_normal((BLOCK, features), np.float32)  # drawn once: a fresh one takes most of the time
    with open(file, "wb") as out:
        for _ in range(views_of(images)):
            for start in range(0, images, BLOCK):
                labels = np.arange(start, min(start + BLOCK, images)) % classes
                x = (rng.standard_normal((len(labels), AXES), np.float32) + centres[labels]) @ axes
                x += noise[rng.permutation(BLOCK)[: len(labels)]]
                out.write(x.tobytes())


def views_of(images: int) -> int:
    return 1 if images == LARGEST else 2


def measure(file: Path, images: int, features: int, classes: int) -> dict:
    """Seconds of the whole probe, the value of L2 it took, how it was judged, and the memory it needed."""
    import torch

    from transferkit import runtime
    from transferkit.messages import Reporter
    from transferkit.model.features import Features
    from transferkit.tasks import SINGLE_LABEL
    from transferkit.train import head
    from transferkit.train.context import FitContext
    from transferkit.train.loop import Examples
    from transferkit.train.problem import Hyperparameters, Problem

    views = np.memmap(file, np.float32, "r", shape=(views_of(images), images, features))
    labels = np.arange(images) % classes
    is_val = np.random.default_rng(1).random(images) < 0.2
    parts = tuple(Examples(rows=np.flatnonzero(part), labels=labels, num_classes=classes) for part in (~is_val, is_val))
    lines = []
    constants = {"optimizer": "lbfgs", "balance": "none", "seed": 0, "layer_decay": 1.0, "dropout": 0.0}
    problem = Problem(
        **dict.fromkeys(("model", "network", "loader", "groups")),
        features=Features(views=tuple(views)),
        train=parts[0],
        val=parts[1],
        context=FitContext(plan=None, patience=1, reporter=Reporter(append=lines.append)),
        hyperparameters=Hyperparameters(**constants, dropconnect=0.0, lr=None, l2=None),
    )
    before, peak = private_bytes(), [0]
    threading.Thread(target=watch, args=(peak,), daemon=True).start()
    started, cpu = time.monotonic(), time.process_time()
    found = head.fit_probe(problem, l2=None)
    seconds = time.monotonic() - started
    scores = SINGLE_LABEL.scores(found.logits, labels[found.rows])
    return {
        "images": images,
        "features": features,
        "classes": classes,
        "file_mb": round(file.stat().st_size / 1e6),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "private_mb": round((max(peak) - before) / 1e6),
        "l2": found.l2,
        "path": [{key: line[key] for key in ("l2", "images", "seconds") if key in line} for line in lines],
        "val": {"accuracy": round(scores["accuracy"], 4), "loss": round(scores["loss"], 4), "n": scores["n"]},
        "note": found.note,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": runtime.versions(),
    }


def watch(peak: list[int]) -> None:
    while True:
        peak[0] = max(peak[0], private_bytes())
        time.sleep(0.01)


def private_bytes() -> int:
    """Memory of this process that is not pages of a file, which the system takes back when it likes (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this benchmark reads /proc/self/status, which this system does not have")


if __name__ == "__main__":
    main()
