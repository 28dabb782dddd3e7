"""Vyntri's `fit`: a frozen network, then projection and ridge classifier in closed form. Needs vyntri and timm.

vyntri_fit.py FOLDER --architecture NAME [--weights DIR] [--seed S]; FOLDER holds train/CLASS and test/CLASS. `seconds`
are those of fitting, which draws nothing at random: a seed changes nothing.

Vyntri's own networks are five of torchvision; here NAME of timm joins them in its registry. Preprocessing is Vyntri's.

Source: https://pypi.org/project/vyntri
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import timm
from vyntri import Vyntri
from vyntri.backbones import registry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    name = f"local-dir:{given.weights}" if given.weights else given.architecture
    network = timm.create_model(name, pretrained=given.weights is not None, num_classes=0).eval()
    registry._register(
        registry.BackboneInfo(
            name="given",
            feature_dim=network.num_features,
            pretrained_id=name,
            parameter_count=sum(weights.numel() for weights in network.parameters()),
            cpu_viable=True,
            factory=lambda: network,
        )
    )
    with tempfile.TemporaryDirectory() as scratch:
        model = Vyntri(backbone="given", cache_dir=scratch, seed=given.seed)
        started = time.perf_counter()
        model.fit(train=given.folder / "train")
        seconds = time.perf_counter() - started
        scored = model.evaluate(given.folder / "test")
    n = len(list((given.folder / "test").glob("*/*")))
    print(json.dumps({"accuracy": scored.accuracy, "n": n, "seconds": seconds}))


if __name__ == "__main__":
    main()
