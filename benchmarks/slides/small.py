"""A small problem that a CPU trains on in seconds: some CIFAR images and an MLP, and runs on it."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from transferkit import seeds
from transferkit.data import augment
from transferkit.model.build import CifarMlp, Preprocessing
from transferkit.pretraining.cifar import Cifar
from transferkit.train import loop, optim, outputs
from transferkit.train.loop import Examples, Plan
from transferkit.train.schedule import Schedule

SEEDS = (0, 1, 2)
TRAIN, HELD_OUT = 4000, 4000  # images: so few that a small network overfits within seconds
WIDTHS = (128, 64, 32)  # of the hidden layers, 0.4 M weights
EPOCHS, BATCH_SIZE = 16, 64
VIEWS = 5  # of each augmented image, made once; epoch e sees view e mod 5


@dataclass(frozen=True, kw_only=True, eq=False)
class SmallCifar:
    """`TRAIN` images of CIFAR's training part and `HELD_OUT` of its test part, which take part in no decision.

    Shapes: pixels (N, 32, 32, 3) uint8; images (N, 3, 32, 32) in 0..1, and mean (3, 32, 32) of those to train on.
    """

    pixels: np.ndarray
    images: Tensor
    mean: Tensor
    train: Examples
    held_out: Examples

    @classmethod
    def draw(cls, full: Cifar) -> "SmallCifar":
        chosen = seeds.generator(0, "small cifar").permutation(len(full.labels))[:TRAIN]
        tested = seeds.generator(1, "small cifar").permutation(len(full.test_labels))[:HELD_OUT]
        pixels = np.concatenate([full.images[chosen], full.test_images[tested]])
        labels = np.concatenate([full.labels[chosen], full.test_labels[tested]])
        images = _scaled(pixels)
        train, held_out = (
            Examples(rows=rows, labels=labels, num_classes=len(full.classes))
            for rows in (np.arange(len(chosen)), len(chosen) + np.arange(len(tested)))
        )
        mean = images[: len(chosen)].mean(0)
        return cls(pixels=pixels, images=images, mean=mean, train=train, held_out=held_out)

    def loader(self, batches: list[np.ndarray], epoch: int | None) -> Iterator[tuple[Tensor, np.ndarray]]:
        """A loader for the training loop: the images as they are."""
        for rows in batches:
            yield self.images[torch.from_numpy(rows)], rows

    def augmented(self, name: str) -> loop.Loader:
        """A loader of the views that an augmentation makes of the images to train on."""
        views = _views(self, name)

        def loader(batches: list[np.ndarray], epoch: int | None) -> Iterator[tuple[Tensor, np.ndarray]]:
            source = self.images if epoch is None else views[epoch % VIEWS]
            for rows in batches:
                yield source[torch.from_numpy(rows)], rows

        return loader


@functools.cache
def _views(problem: SmallCifar, name: str) -> list[Tensor]:
    """`VIEWS` augmented views of all images to train on."""
    make = augment.load(name, Preprocessing(size_px=(32, 32), crop_pct=1.0))
    photos = [Image.fromarray(pixels) for pixels in problem.pixels[problem.train.rows]]

    def pixels(view: int) -> np.ndarray:
        return np.stack([make(photo, seed=seeds.integer(0, "augment", view, row)) for row, photo in enumerate(photos)])

    return [_scaled(pixels(view)) for view in range(VIEWS)]


def _scaled(pixels: np.ndarray) -> Tensor:
    """Shapes: (N, H, W, 3) uint8 -> (N, 3, H, W) in 0..1."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way of training the small network; the defaults are what every other way is compared with."""

    optimizer: str = "adam"
    lr: float = 1e-3
    l2: float = 0.0
    schedule: str = "cosine"
    cycles: int = 1
    epochs: int = EPOCHS
    dropout: float = 0.0  # before fc2 and fc3
    dropconnect: float = 0.0
    augment: str = "none"


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A network after its last epoch, what was recorded, and the logits on the held-out images at each cycle's end.

    `train_accuracy` is that of the finished network on the training images as they are.
    """

    network: CifarMlp
    records: list[dict[str, Any]]
    logits: list[np.ndarray]
    train_accuracy: float
    accuracy: float


def fresh(problem: SmallCifar, variant: Variant, *, seed: int) -> CifarMlp:
    """The small network before training."""
    torch.manual_seed(seeds.integer(seed, "weights"))
    classes = problem.train.num_classes
    network = CifarMlp(classes, widths=WIDTHS, dropout=(variant.dropout,) * 2, dropconnect=variant.dropconnect)
    network.mean.copy_(problem.mean)
    return network


@functools.cache
def trained(problem: SmallCifar, variant: Variant, seed: int) -> Trained:
    """The small network trained by `variant`; a run that two parts need is made once."""
    network = fresh(problem, variant, seed=seed)
    groups = optim.groups_of(network.parameters(), lr=variant.lr, l2=variant.l2)
    optimizer = optim.make(variant.optimizer, groups)
    schedule = Schedule(name=variant.schedule, epochs=variant.epochs, cycles=variant.cycles)
    plan = Plan(epochs=variant.epochs, batch_size=BATCH_SIZE, schedule=schedule, seed=seed)
    loader = problem.loader if variant.augment == "none" else problem.augmented(variant.augment)
    records, logits = [], []
    for record in loop.train_epochs(network, optimizer, loader, problem.train, plan):
        records.append(record)
        if "snapshot" in record or record["epoch"] + 1 == plan.epochs:
            logits.append(logits_of(network, problem, problem.held_out))
    on_train = logits_of(network, problem, problem.train)
    return Trained(
        network=network,
        records=records,
        logits=logits,
        train_accuracy=accuracy(on_train, problem.train),
        accuracy=accuracy(logits[-1], problem.held_out),
    )


def logits_of(network: CifarMlp, problem: SmallCifar, examples: Examples) -> np.ndarray:
    """Shapes: (n, K)."""
    return outputs.logits_of(network, problem.loader, examples.rows, num_classes=examples.num_classes)


def accuracy(logits: np.ndarray, examples: Examples) -> float:
    """The share of `examples` that have the highest logit where it should be."""
    return float(hits(logits, examples).mean())


def hits(logits: np.ndarray, examples: Examples) -> np.ndarray:
    """Which of `examples` have the highest logit where it should be. Shapes: (n, K) -> (n,)."""
    return logits.argmax(1) == examples.labels[examples.rows]
