"""Trains the embedded networks on CIFAR from a plain recipe; every random draw is a function of (seed, epoch,
image).
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from transferkit import seeds
from transferkit.zoo.errors import DataError, DivergedError

SIZE_PX = 32


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Numbers of a training from scratch: SGD with Nesterov momentum under one warm-up and one cosine."""

    epochs: int = 20
    batch_size: int = 256
    peak_lr: float = 0.3
    warmup_share: float = 0.2  # of all steps, linear from zero
    momentum: float = 0.9
    l2: float = 5e-4  # on weights with more than one dimension only
    label_smoothing: float = 0.1
    max_shift_px: int = 4
    seed: int = 0


def read_images(folder: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """All images of a folder of class folders, in order of class and file name.

    Shapes: images (N, 32, 32, 3) uint8, labels (N,) int64, and the K class names.
    Raises: DataError if there is no class folder or an image is not 32 x 32.
    """
    classes = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
    files = [(path, label) for label, name in enumerate(classes) for path in sorted((folder / name).iterdir())]
    if not files:
        raise DataError(f"{folder} has no class folders with images")
    images = np.empty((len(files), SIZE_PX, SIZE_PX, 3), np.uint8)
    for row, (path, _) in enumerate(files):
        with Image.open(path) as image:
            if image.size != (SIZE_PX, SIZE_PX):
                raise DataError(f"{path} is {image.size[0]} x {image.size[1]}; this recipe takes images of 32 x 32")
            images[row] = np.asarray(image.convert("RGB"))
    return images, np.array([label for _, label in files], np.int64), classes


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel in units of 0..1, rounded to four places."""
    pixels = images.reshape(-1, 3)
    mean = tuple(round(float(v) / 255, 4) for v in pixels.mean(0, dtype=np.float64))
    std = tuple(round(float(v) / 255, 4) for v in pixels.std(0, dtype=np.float64))
    return mean, std


def augmented(images: Tensor, recipe: Recipe, *, epoch: int) -> Tensor:
    """Every image shifted by up to `max_shift_px` and flipped or not; the flip alternates from epoch to epoch.

    Shapes: images (N, 3, H, W) -> (N, 3, H, W).
    Source: alternating flip, Jordan 2024, section 3.6, https://arxiv.org/abs/2404.00498
    """
    shift = recipe.max_shift_px
    count, _, height, width = images.shape
    rng = seeds.generator(recipe.seed, "shift", epoch)
    top, left = torch.from_numpy(rng.integers(0, 2 * shift + 1, (2, count)))
    flip_first = seeds.generator(recipe.seed, "flip").random(count) < 0.5
    flip = torch.from_numpy(flip_first if epoch % 2 == 0 else ~flip_first)
    padded = nn.functional.pad(images, (shift,) * 4, mode="reflect")
    rows = top[:, None] + torch.arange(height)  # (N, H)
    columns = left[:, None] + torch.arange(width)  # (N, W)
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    return padded[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def lr_at(step: int, steps: int, recipe: Recipe) -> float:
    """The learning rate of a step: linear warm-up, then half a cosine to zero."""
    warmup = recipe.warmup_share * steps
    if step < warmup:
        return recipe.peak_lr * (step + 1) / warmup
    return recipe.peak_lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def train_epochs(network: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe) -> Iterator[dict[str, float]]:
    """Train `network` in place and yield one record an epoch.

    Shapes: images (N, 3, H, W), normalised; labels (N,).
    Raises: DivergedError when the loss is not finite.
    """
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.l2}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=recipe.momentum, nesterov=True)
    batches = len(images) // recipe.batch_size  # the last, smaller batch of an epoch is left out; the order changes
    for epoch in range(recipe.epochs):
        started = time.monotonic()
        network.train()
        order = torch.from_numpy(seeds.generator(recipe.seed, "order", epoch).permutation(len(images)))
        views = augmented(images, recipe, epoch=epoch)
        total = 0.0
        for batch in range(batches):
            chosen = order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size]
            lr = lr_at(epoch * batches + batch, recipe.epochs * batches, recipe)
            for group in optimizer.param_groups:
                group["lr"] = lr
            x = views[chosen].contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(x)
            loss = nn.functional.cross_entropy(logits.float(), labels[chosen], label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            if not math.isfinite(total):
                raise DivergedError(
                    f"the loss is not finite in epoch {epoch} at learning rate {lr:.3g}; use a lower one"
                )
        yield {"epoch": epoch, "lr": lr, "loss": total / batches, "seconds": time.monotonic() - started}


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images that `network` classifies correctly, in eval mode and fp32."""
    network.eval()
    hits = 0
    for x, y in zip(images.split(500), labels.split(500)):
        hits += (network(x.contiguous(memory_format=torch.channels_last)).argmax(1) == y).sum().item()
    return hits / len(labels)
