"""Trains the embedded networks on CIFAR from a plain recipe; each draw is a function of (seed, epoch, image)."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from transferkit import metrics, seeds
from transferkit.data.batches import normalise
from transferkit.model.build import CifarResNet, ModelCard, Preprocessing
from transferkit.zoo import files
from transferkit.zoo.errors import DataError, DivergedError, UsageError

SIZE_PX = 32


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Numbers of a training from scratch: SGD with Nesterov momentum under one warm-up and one cosine."""

    epochs: int = 14
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
    Raises: UsageError if there is no such folder, DataError if there is no class folder or an image is not 32 x 32.
    """
    if not folder.is_dir():
        raise UsageError(f"no such folder: {folder}")
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


def pretrain(data: Path, out: Path, recipe: Recipe, *, on_record: Callable[[dict[str, float]], None]) -> ModelCard:
    """Train `cifar_resnet` on `data`/train, score it on `data`/test, write its weights in fp16 to `out`; the card.

    The card lies beside the weights, under the same name ending in .json.

    Raises: DataError, DivergedError, StorageError.
    """
    started = time.monotonic()
    images, labels, classes = read_images(data / "train")
    test_images, test_labels, test_classes = read_images(data / "test")
    if test_classes != classes:
        raise DataError(f"{data} has other classes in test than in train")
    mean, std = channel_statistics(images)
    preprocessing = Preprocessing(size_px=(SIZE_PX, SIZE_PX), mean=mean, std=std, crop_pct=1.0)
    torch.manual_seed(recipe.seed)
    network = CifarResNet(len(classes)).to(memory_format=torch.channels_last)
    for record in train_epochs(network, _inputs(images, preprocessing), torch.from_numpy(labels), recipe):
        on_record(record)
    halves = {
        name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()
    }
    files.write_safetensors(out, halves)
    network.load_state_dict(halves)  # what is scored is what is shipped
    score = accuracy(network, _inputs(test_images, preprocessing), torch.from_numpy(test_labels))
    card = ModelCard(
        name="cifar_resnet",
        architecture="cifar_resnet",
        preprocessing=preprocessing,
        classes=classes,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        license="Apache-2.0",
        source="trained by transferkit on CIFAR-10 (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html)",
        sha256=files.sha256(out),
        measured={
            f"{len(test_labels):,} test images": {"accuracy": score, "interval": _interval(score, len(test_labels))}
        },
        training={
            "recipe": dataclasses.asdict(recipe),
            "images": len(labels),
            "seconds": round(time.monotonic() - started),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
    )
    files.write_text(out.with_suffix(".json"), card.to_json())
    return card


def _inputs(images: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """Shapes: (N, H, W, 3) uint8 -> (N, 3, H, W) float32, normalised."""
    return normalise(torch.from_numpy(images).permute(0, 3, 1, 2), preprocessing)


def _interval(score: float, n: int) -> list[float]:
    return [round(end, 4) for end in metrics.wilson_interval(round(score * n), n)]


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images that `network` classifies correctly, in eval mode and fp32."""
    network.eval()
    hits = 0
    for x, y in zip(images.split(500), labels.split(500)):
        hits += (network(x.contiguous(memory_format=torch.channels_last)).argmax(1) == y).sum().item()
    return hits / len(labels)
