"""The training loop of the PyTorch tutorials: NCHW, fp32, SGD with momentum, augmentation and validation every epoch.

tutorial_loop.py FOLDER --architecture NAME [--weights DIR] [--frozen] [--epochs E]; FOLDER holds train/CLASS, and
val/CLASS or test/CLASS.

Source: https://docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html
"""

import argparse
import json
import time
from pathlib import Path

import timm
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

NORMALISE = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
TRAIN = transforms.Compose([
    transforms.RandomResizedCrop(224),
    transforms.RandomHorizontalFlip(),
    transforms.ToTensor(),
    NORMALISE,
])  # fmt: skip
JUDGE = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), NORMALISE])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--frozen", action="store_true", help="train the head alone")
    parser.add_argument("--epochs", type=int, default=3)
    given = parser.parse_args()
    torch.manual_seed(0)
    judging = "val" if (given.folder / "val").is_dir() else "test"
    train, judged = ImageFolder(given.folder / "train", TRAIN), ImageFolder(given.folder / judging, JUDGE)
    name = f"local-dir:{given.weights}" if given.weights else given.architecture
    model = timm.create_model(name, pretrained=given.weights is not None, num_classes=len(train.classes))
    model.get_classifier().reset_parameters()  # as the tutorial's new nn.Linear; timm's start is wider and slower here
    if given.frozen:
        model.requires_grad_(False)
        model.get_classifier().requires_grad_(True)
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.001, momentum=0.9)
    training, judging = DataLoader(train, 32, shuffle=True, num_workers=2), DataLoader(judged, 32, num_workers=2)
    seconds = []
    for _ in range(given.epochs):
        started = time.perf_counter()
        fit(model, training, optimiser)
        right = score(model, judging)
        seconds.append(time.perf_counter() - started)
    learned = given.epochs * len(train)
    print(json.dumps({"epoch_seconds": seconds, "trained": learned, "n": len(judged), "accuracy": right / len(judged)}))


def fit(model: nn.Module, training: DataLoader, optimiser: torch.optim.Optimizer) -> None:
    """One epoch."""
    model.train()
    for x, y in training:
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()


@torch.no_grad()
def score(model: nn.Module, judging: DataLoader) -> int:
    """How many images it names rightly."""
    model.eval()
    return sum(int((model(x).argmax(1) == y).sum()) for x, y in judging)


if __name__ == "__main__":
    main()
