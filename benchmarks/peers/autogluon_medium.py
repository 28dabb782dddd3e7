"""AutoGluon's MultiModalPredictor with its preset `medium_quality`, on one network. Needs autogluon.multimodal.

autogluon_medium.py FOLDER --architecture NAME [--seed S]; FOLDER holds train/CLASS and test/CLASS. NAME is a timm name;
its weights come from the hub or from the hub's cache. `seconds` are those of training.

Source: https://auto.gluon.ai/stable/tutorials/multimodal/image_prediction/beginner_image_cls.html
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import pandas as pd
from autogluon.multimodal import MultiModalPredictor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    train, test = (table(given.folder / part) for part in ("train", "test"))
    with tempfile.TemporaryDirectory() as scratch:
        predictor = MultiModalPredictor(label="label", path=f"{scratch}/model")
        chosen = {"model.names": ["timm_image"], "model.timm_image.checkpoint_name": given.architecture}
        started = time.perf_counter()
        predictor.fit(train, presets="medium_quality", hyperparameters=chosen, seed=given.seed)
        seconds = time.perf_counter() - started
        accuracy = predictor.evaluate(test, metrics=["accuracy"])["accuracy"]
    print(json.dumps({"accuracy": accuracy, "n": len(test), "seconds": seconds}))


def table(folder: Path) -> pd.DataFrame:
    """A row an image."""
    files = sorted(folder.glob("*/*"))
    return pd.DataFrame({"image": [str(file) for file in files], "label": [file.parent.name for file in files]})


if __name__ == "__main__":
    main()
