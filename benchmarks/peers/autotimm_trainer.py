"""AutoTimm's `AutoTrainer` as its quick start has it: a learning rate that it looks for, 10 epochs. Needs autotimm.

autotimm_trainer.py FOLDER --architecture NAME [--epochs E] [--seed S]; FOLDER holds train/CLASS and test/CLASS. NAME is
a timm name; its weights come from the hub or from the hub's cache. `seconds` are those of training.

Source: https://pypi.org/project/autotimm
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from autotimm import AutoTrainer, ImageClassifier, ImageDataModule, MetricConfig

ACCURACY = MetricConfig(
    name="accuracy",
    backend="torchmetrics",
    metric_class="Accuracy",
    params={"task": "multiclass", "average": "micro"},
    stages=["test"],
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    data = ImageDataModule(data_dir=given.folder)
    data.setup()
    model = ImageClassifier(given.architecture, data.num_classes, metrics=[ACCURACY], seed=given.seed)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = AutoTrainer(max_epochs=given.epochs, seed=given.seed, default_root_dir=scratch)
        started = time.perf_counter()
        trainer.fit(model, datamodule=data)
        seconds = time.perf_counter() - started
        accuracy = trainer.test(model, datamodule=data)[0]["test/accuracy"]
    print(json.dumps({"accuracy": accuracy, "n": len(data.test_dataset), "seconds": seconds}))


if __name__ == "__main__":
    main()
