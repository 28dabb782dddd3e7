"""Redraws the figures of docs/lecture.md and measures its numbers again; one JSON line a result.

python benchmarks/lecture.py --cifar PATH --photos FOLDER [--backbone NAME] [--only PART...] [--out docs/lecture]

PATH holds CIFAR-10: class folders, a tar of them, or the binary version. FOLDER holds the data sets hymenoptera and
trashnet, each with train/CLASS and test/CLASS. Parts whose data is not given are left out. The results are kept in
OUT/results.json, each part with its time and the run it is from, and the numbers in OUT.md are set from it; with --only
those of other parts stay, with the run that they are from.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from slides import augmentation, ensembles, landscapes, optimisers, page, rates, regularisation, signals, transfer
from slides.setting import Setting

from transferkit import runtime

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Part:
    """Something to measure, and the option that names its data, "" if it needs none."""

    measure: Callable[[Setting], dict[str, Any]]
    data: str = ""


PARTS = {
    "activations": Part(signals.activations, "cifar"),
    "centring": Part(signals.centring, "cifar"),
    "bowl": Part(landscapes.conditioning),
    "saddle": Part(landscapes.escape),
    "optimisers": Part(optimisers.optimisers, "cifar"),
    "rates": Part(rates.four_rates, "photos"),
    "shapes": Part(rates.shapes),
    "schedules": Part(rates.schedules, "cifar"),
    "curves": Part(rates.curves, "photos"),
    "l2": Part(regularisation.l2, "cifar"),
    "dropout": Part(regularisation.drop, "cifar"),
    "heads": Part(regularisation.drop_heads, "photos"),
    "inference": Part(regularisation.inference, "cifar"),
    "snapshots": Part(ensembles.snapshots, "cifar"),
    "snapshot-heads": Part(ensembles.snapshot_heads, "photos"),
    "ensemble": Part(ensembles.independent, "cifar"),
    "joined": Part(ensembles.joined, "photos"),
    "augmentation": Part(augmentation.augmentation, "cifar"),
    "transfer": Part(transfer.transfer, "photos"),
    "mlp": Part(transfer.frozen_mlp, "photos"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--backbone", default="cifar_resnet")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "lecture")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    photos = given.photos and given.photos.resolve()
    setting = Setting(out=given.out, cifar=given.cifar, photos=photos, backbone=given.backbone)
    results = page.read(given.out)
    run = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    results["runs"][run] = machine()
    if given.cifar and any(PARTS[name].data == "cifar" for name in given.only):
        read = timed("reading", lambda: {"cifar": {"images": len(setting.small.images)}})
        results["parts"]["reading"] = read | {"origin": run}
    for name in given.only:
        part = PARTS[name]
        if part.data and getattr(given, part.data) is None:
            print(json.dumps({"part": name, "skipped": f"needs --{part.data}"}), flush=True)
            continue
        results["parts"][name] = timed(name, lambda part=part: part.measure(setting)) | {"origin": run}
        page.keep(given.out, results)
        page.write(given.out)


def timed(name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The results of a part, each printed as a line, and the seconds that it took."""
    started, used = time.monotonic(), time.process_time()
    found = measure()
    seconds = {"seconds": round(time.monotonic() - started, 1), "cpu_seconds": round(time.process_time() - used, 1)}
    for key, result in found.items():
        print(json.dumps({"part": name, "result": key} | result | machine()), flush=True)
    print(json.dumps({"part": name} | seconds), flush=True)
    return found | {"time": seconds}


def machine() -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    return {
        "processor": runtime.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": runtime.pick_device("auto"),
        "versions": runtime.versions(),
    }


if __name__ == "__main__":
    main()
