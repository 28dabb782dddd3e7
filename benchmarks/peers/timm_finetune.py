"""Full fine-tuning as timm's train.py does it, with its loader, optimiser, schedule and loop, on a CPU.

timm_finetune.py FOLDER --architecture NAME [--weights DIR] [--epochs E]; FOLDER holds train/CLASS, and val/CLASS or
test/CLASS.

Source: https://github.com/huggingface/pytorch-image-models/blob/main/train.py
"""

import argparse
import json
import time
from pathlib import Path

import timm
import torch
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import nn

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    given = parser.parse_args()
    timm.utils.random_seed(0)
    judging = "val" if (given.folder / "val").is_dir() else "test"
    train, judged = (
        create_dataset("folder", root=str(given.folder), split=part, is_training=part == "train")
        for part in ("train", judging)
    )
    name = f"local-dir:{given.weights}" if given.weights else given.architecture
    classes = len(train.reader.class_to_idx)
    model = timm.create_model(name, pretrained=given.weights is not None, num_classes=classes)
    optimiser = create_optimizer_v2(model, opt="adamw", lr=3e-4, weight_decay=0.05)
    training, judging = loaders(model, train, judged)
    schedule, epochs = create_scheduler_v2(
        optimiser, sched="cosine", num_epochs=given.epochs, cooldown_epochs=0, updates_per_epoch=len(training)
    )
    seconds = []
    for epoch in range(epochs):
        started = time.perf_counter()
        fit(model, training, optimiser)
        right = score(model, judging)
        schedule.step(epoch + 1)
        seconds.append(time.perf_counter() - started)
    learned = epochs * len(training) * BATCH  # its loader leaves out a last batch that is not full
    print(json.dumps({"epoch_seconds": seconds, "trained": learned, "n": len(judged), "accuracy": right / len(judged)}))


def loaders(model: nn.Module, train, judged) -> list:
    """The training and the judging loader, with train.py's usual augmentation."""
    config = resolve_data_config({}, model=model)
    chosen = {key: config[key] for key in ("input_size", "interpolation", "mean", "std", "crop_pct")}
    shared = chosen | {"batch_size": BATCH, "use_prefetcher": False, "num_workers": 2, "device": torch.device("cpu")}
    training = create_loader(train, is_training=True, color_jitter=0.4, **shared)
    return [training, create_loader(judged, is_training=False, **shared)]


def fit(model: nn.Module, training, optimiser: torch.optim.Optimizer) -> None:
    """One epoch."""
    model.train()
    loss_of = LabelSmoothingCrossEntropy(0.1)
    for x, y in training:
        optimiser.zero_grad()
        loss_of(model(x), y).backward()
        optimiser.step()


@torch.inference_mode()
def score(model: nn.Module, judging) -> int:
    """How many images it names rightly."""
    model.eval()
    return sum(int((model(x).argmax(1) == y).sum()) for x, y in judging)


if __name__ == "__main__":
    main()
