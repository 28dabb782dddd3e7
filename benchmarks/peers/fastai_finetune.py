"""fastai's `fine_tune`: one epoch with a frozen body, then E through the whole network. Needs fastai and timm.

fastai_finetune.py FOLDER --architecture NAME [--weights DIR] [--epochs E] [--seed S]; FOLDER holds train/CLASS, and
val/CLASS or test/CLASS. `seconds` are those of training, which scores it after each epoch.
"""

import argparse
import json
import time
from pathlib import Path

from fastai.vision.all import (
    CategoryBlock,
    DataBlock,
    GrandparentSplitter,
    ImageBlock,
    Resize,
    accuracy,
    aug_transforms,
    get_image_files,
    parent_label,
    set_seed,
    vision_learner,
)

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    set_seed(given.seed, reproducible=True)
    judging = "val" if (given.folder / "val").is_dir() else "test"
    data = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=get_image_files,
        get_y=parent_label,
        splitter=GrandparentSplitter(train_name="train", valid_name=judging),
        item_tfms=Resize(256),
        batch_tfms=aug_transforms(size=224, min_scale=0.75),
    ).dataloaders(given.folder, bs=BATCH, num_workers=2, device="cpu")
    name = f"local-dir:{given.weights}" if given.weights else given.architecture
    learner = vision_learner(data, name, pretrained=given.weights is not None, metrics=accuracy)
    with learner.no_bar(), learner.no_logging():
        started = time.perf_counter()
        learner.fine_tune(given.epochs)
        seconds = time.perf_counter() - started
        scored = float(learner.validate()[1])
    learned = (1 + given.epochs) * len(data.train) * BATCH  # its loader leaves out a last batch that is not full
    print(json.dumps({"trained": learned, "n": len(data.valid_ds), "accuracy": scored, "seconds": seconds}))


if __name__ == "__main__":
    main()
