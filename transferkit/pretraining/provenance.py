"""The card of a network trained from scratch: what it is and how good, of which data, command and machine."""

import shlex
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transferkit import metrics, runtime
from transferkit.data.batches import normalise
from transferkit.model.build import ModelCard, Preprocessing, unpack
from transferkit.pretraining.cifar import Cifar
from transferkit.pretraining.recipe import Job, Recipe
from transferkit.pretraining.students import Student
from transferkit.train.state import State
from transferkit.zoo import files

CIFAR10_CLASSES = {
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
}  # fmt: skip
CIFAR10 = "CIFAR-10 (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html)"
BATCH = 500


def card(student: Student, found: Cifar, job: Job, *, stored: State, seconds: float) -> ModelCard:
    """The card of a trained network whose weights are written; it scores them, and those before they were packed.

    Args: stored, what was written.
    """
    is_cifar10 = set(found.classes) == CIFAR10_CLASSES
    network = student.opened(student.state())
    before = _score(network, found, student.preprocessing)
    network.load_state_dict(unpack(stored))
    shipped = _score(network, found, student.preprocessing)
    size = f"{len(found.labels):,} images of {len(found.classes)} classes"
    tested = f"{len(found.test_labels):,} {found.tested} images"
    return ModelCard(
        name=job.recipe.network,
        architecture=job.recipe.network,
        preprocessing=student.preprocessing,
        classes=found.classes,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        license="Apache-2.0" if is_cifar10 else "unknown",
        source=f"trained by transferkit on {CIFAR10 if is_cifar10 else f'the images of {_name(job.data)}'}",
        sha256=files.sha256(job.out),
        description=f"{student.description()} {_training_words(job.recipe, found)}",
        measured={tested: shipped, f"{tested}, before the weights were packed": before},
        training={
            "data": f"{_name(job.data)}: {size}, {found.encoding}",
            "command": _command(job),
            "seed": job.recipe.seed,
            "seconds": round(seconds),
            "machine": _machine(student.device),
        },
    )


def _command(job: Job) -> str:
    given = ["--data", _name(job.data), "--recipe", job.recipe_file.name, "-o", job.out.name]
    return shlex.join(["transferkit", "pretrain", job.recipe.network, *given])


def _score(network: nn.Module, found: Cifar, preprocessing: Preprocessing) -> dict[str, Any]:
    """The accuracy on the test images, in single precision, with its 95 % interval."""
    images, labels = torch.from_numpy(found.test_images).permute(0, 3, 1, 2), torch.from_numpy(found.test_labels)
    hits = count_hits(network, images, labels, preprocessing=preprocessing)
    interval = [round(end, 4) for end in metrics.wilson_interval(hits, len(labels))]
    return {"accuracy": hits / len(labels), "interval": interval}


@torch.no_grad()
def count_hits(network: nn.Module, images: Tensor, labels: Tensor, *, preprocessing: Preprocessing) -> int:
    """How many images `network` classifies correctly.

    Shapes: images (N, 3, 32, 32) uint8, labels (N,).
    """
    parts = zip(images.split(BATCH), labels.split(BATCH))
    return sum(int((network(normalise(x, preprocessing)).argmax(1) == y).sum()) for x, y in parts)


def _training_words(recipe: Recipe, found: Cifar) -> str:
    """How it was trained, in sentences."""
    changed = [f"shifted by up to {recipe.max_shift_px} px", "mirrored in every other epoch"]
    if recipe.cutout_px:
        changed.append(f"with a square of {recipe.cutout_px} px painted over")
    epochs = f"{recipe.all_epochs} epoch{'s' if recipe.all_epochs > 1 else ''}"
    lines = [
        f"Trained from scratch by {recipe.optimizer}, {epochs} of {len(found.labels):,} images at 32 px, "
        f"{', '.join(changed)}."
    ]
    if found.encoding.startswith("JPEG"):
        lines.append(f"The images went through {found.encoding}, for training and for the score.")
    return " ".join(lines)


def _machine(device: str) -> str:
    """What computes: a GPU's name if `device` is one, the processor, its threads, the version of torch."""
    threads = torch.get_num_threads()
    parts = [runtime.processor(), f"{threads} thread{'s' if threads > 1 else ''}", f"torch {torch.__version__}"]
    if device.startswith("cuda"):
        parts.insert(0, torch.cuda.get_device_name(device))
    elif device != "cpu":
        parts.insert(0, device)
    return ", ".join(parts)


def _name(data: Path) -> str:
    return data.name or data.resolve().name  # "." has none
