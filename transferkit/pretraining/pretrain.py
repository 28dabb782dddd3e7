"""Trains the embedded networks on CIFAR from a plain recipe; each draw is a function of (seed, epoch, image)."""

import dataclasses
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transferkit import lock, runtime, seeds
from transferkit.model.build import ModelCard
from transferkit.pretraining import cifar, provenance
from transferkit.pretraining.cifar import Cifar
from transferkit.pretraining.recipe import Job, Recipe, read_recipe
from transferkit.pretraining.students import STUDENTS, Student
from transferkit.progress import Progress
from transferkit.train import loop, optim, schedule, state
from transferkit.zoo import files, removal
from transferkit.zoo.errors import DivergedError, RunConflictError, UsageError

Record = dict[str, float]  # of an epoch
STATE, RECIPE, DATA = "epochs", "recipe.json", "data.json"  # in a checkpoint: its state, and what it is of


def augmented(images: Tensor, recipe: Recipe, *, epoch: int) -> tuple[Tensor, Tensor]:
    """Every image shifted by up to `max_shift_px` and flipped or not, and which ones are flipped.

    The flip alternates from epoch to epoch.

    Shapes: images (N, 3, H, W) uint8 -> (N, 3, H, W) uint8, (N,) bool.
    Source: alternating flip, Jordan 2024, section 3.6, https://arxiv.org/abs/2404.00498
    """
    shift = recipe.max_shift_px
    count, _, height, width = images.shape
    rng = seeds.generator(recipe.seed, "shift", epoch)
    top, left = torch.from_numpy(rng.integers(0, 2 * shift + 1, (2, count)))
    flip_first = seeds.generator(recipe.seed, "flip").random(count) < 0.5
    flipped = torch.from_numpy(flip_first if epoch % 2 == 0 else ~flip_first)
    padded = nn.functional.pad(images.float(), (shift,) * 4, mode="reflect").to(images.dtype)
    rows = top[:, None] + torch.arange(height)  # (N, H)
    columns = left[:, None] + torch.arange(width)  # (N, W)
    columns = torch.where(flipped[:, None], columns.flip(1), columns)
    numbers = torch.arange(count)[:, None, None]
    return padded[numbers, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2), flipped


def cut_out(images: Tensor, recipe: Recipe, *, epoch: int) -> Tensor:
    """Every image with a square of `cutout_px`, centred anywhere in it, painted in the mean colour.

    Shapes: images (N, 3, H, W) uint8 -> (N, 3, H, W) uint8.
    Source: DeVries and Taylor 2017, https://arxiv.org/abs/1708.04552
    """
    count, _, height, width = images.shape
    rng = seeds.generator(recipe.seed, "cutout", epoch)
    top, left = (torch.from_numpy(rng.integers(0, side, count)) - recipe.cutout_px // 2 for side in (height, width))
    rows, columns = torch.arange(height) - top[:, None], torch.arange(width) - left[:, None]  # (N, H), (N, W)
    inside = [(place >= 0) & (place < recipe.cutout_px) for place in (rows, columns)]
    square = inside[0][:, None, :, None] & inside[1][:, None, None, :]  # (N, 1, H, W)
    return torch.where(square, images.float().mean((0, 2, 3), keepdim=True).to(images.dtype), images)


def train_epochs(
    student: Student, images: Tensor, labels: Tensor, *, checkpoint: Path, progress: Progress
) -> Iterator[Record]:
    """Train `student` in place and yield one record an epoch; go on from `checkpoint` if it is there.

    Shapes: images (N, 3, 32, 32) uint8, labels (N,).
    Raises: UsageError for a layer in lr_factors that the network lacks, DivergedError when the loss is not finite,
    StorageError.
    """
    recipe = student.recipe
    optimizer = optim.make(recipe.optimizer, _groups(student.network, recipe))
    records: list[Record] = []
    if saved := state.newest(checkpoint, optimizer, say=progress.say):
        student.network.load_state_dict(saved.model)
        state.restore_optimizer(optimizer, saved.optimizer)
        records = saved.records
        yield from records
    batches = len(images) // recipe.batch_size  # the last, smaller batch of an epoch is left out; the order changes
    seen = batches * recipe.batch_size
    progress.start("training", (recipe.all_epochs - len(records)) * seen)
    for epoch in range(len(records), recipe.all_epochs):
        started = time.monotonic()
        student.network.train()
        order = torch.from_numpy(seeds.generator(recipe.seed, "order", epoch).permutation(len(images)))
        views, flipped = augmented(images, recipe, epoch=epoch)
        if recipe.cutout_px:
            views = cut_out(views, recipe, epoch=epoch)
        loss_sum, hits = 0.0, 0
        for number in range(batches):
            optim.set_lr(optimizer, rate_factor(epoch * batches + number, recipe, steps_per_epoch=batches))
            torch.manual_seed(seeds.integer(recipe.seed, "dropout", epoch, number))
            rows = order[number * recipe.batch_size : (number + 1) * recipe.batch_size]
            y = labels[rows].to(student.device)
            loss, logits = student.loss(views[rows], y, rows=rows, flipped=flipped[rows])
            if not torch.isfinite(loss):
                raise DivergedError(f"the loss is not finite in epoch {epoch}; lower the peak_lr of {recipe.peak_lr:g}")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
            hits += (logits.argmax(1) == y).sum().item()
            progress.advance(len(rows))
        if not loop.is_finite(student.network):
            raise DivergedError(f"weights are not finite after epoch {epoch}; lower the peak_lr of {recipe.peak_lr:g}")
        seconds = time.monotonic() - started
        records.append({"epoch": epoch, "loss": loss_sum / batches, "accuracy": hits / seen, "seconds": seconds})
        weights = state.snapshot(student.network)
        held = state.Checkpoint(
            model=weights, averaged=weights, best=weights, optimizer=optimizer.state_dict(), records=records
        )
        state.save(checkpoint, held)
        yield records[-1]
    progress.finish()


def rate_factor(step: int, recipe: Recipe, *, steps_per_epoch: int) -> float:
    """The learning rate of a step over the recipe's peak: a warm-up and a cosine, after a restart a lower cosine.

    Source: warm restarts, Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983
    """
    steps = recipe.epochs * steps_per_epoch
    if step < steps:
        return schedule.warmup_cosine(step, steps=steps, warmup=round(recipe.warmup_share * steps))
    return recipe.restart_share * schedule.cosine(step - steps, steps=recipe.restart_epochs * steps_per_epoch)


def _groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters by their layer's learning rate."""
    layers = dict(network.named_children())
    for name in recipe.lr_factors.keys() - layers.keys():
        raise UsageError(f"lr_factors names {name!r}; the layers of {recipe.network} are {', '.join(layers)}")
    groups = []
    for name, layer in layers.items():
        trainable = [parameter for parameter in layer.parameters() if parameter.requires_grad]
        lr = recipe.peak_lr * recipe.lr_factors.get(name, 1)
        groups += optim.groups_of(trainable, lr=lr, l2=recipe.l2)
    return groups


def pretrain(
    job: Job, *, on_record: Callable[[Record], None] = lambda record: None, progress: Progress | None = None
) -> ModelCard:
    """Train the network of a recipe on small images, write its weights, and return its card.

    The card, with the score of what was written on the test images, and the recipe lie beside the weights, under the
    same name ending in .json and .recipe.json. A training that was stopped goes on from the .checkpoint beside them,
    with the bits of one that was not; until it ends, files that are there stay as they are.

    Raises: UsageError, DataError, DivergedError, NetworkError (a teacher that is not on this machine), StorageError,
    RunConflictError for weights that are there, a checkpoint of other numbers or data, or another such training of the
    same file at this moment.
    """
    with files.storage_errors(job.out):
        job.out.parent.mkdir(parents=True, exist_ok=True)
    with lock.held(job.out.with_suffix(".lock"), of=job.out):
        return _pretrain(job, on_record=on_record, progress=progress or Progress())


def _pretrain(job: Job, *, on_record: Callable[[Record], None], progress: Progress) -> ModelCard:
    recipe = job.recipe
    made = (job.checkpoint, job.out, job.card_file, job.recipe_file)
    removal.sweep(job.out.parent, "|".join(re.escape(path.name) for path in made))  # left by trainings that were killed
    _check_free(job)
    device = runtime.pick_device(job.device)
    found = cifar.read(job.data, seed=recipe.seed)
    if len(found.labels) < recipe.batch_size:
        raise UsageError(f"{len(found.labels)} images are fewer than one batch of {recipe.batch_size}")
    _open_checkpoint(job, found)
    images = torch.from_numpy(found.images).permute(0, 3, 1, 2)
    torch.manual_seed(seeds.integer(recipe.seed, "weights"))
    work = {"num_classes": len(found.classes), "recipe": recipe, "device": device, "progress": progress}
    student = STUDENTS[recipe.network](images, **work)
    labels = torch.from_numpy(found.labels)
    seconds = 0.0  # of all sessions
    for record in train_epochs(student, images, labels, checkpoint=job.checkpoint / STATE, progress=progress):
        seconds += record["seconds"]
        on_record(record)
    tensors = {name: tensor.contiguous() for name, tensor in student.stored().items()}
    files.write_safetensors(job.out, tensors)
    card = provenance.card(student, found, job, stored=tensors, seconds=seconds)
    files.write_json(job.recipe_file, dataclasses.asdict(recipe))
    files.write_text(job.card_file, card.to_json())
    removal.remove_at_once(job.checkpoint)  # a part of it would be taken for one to go on with
    return card


def _check_free(job: Job) -> None:
    """Raise RunConflictError if the job would replace weights, or a foreign folder, or go on with other numbers."""
    if job.overwrite:
        there = {path.name for path in job.checkpoint.iterdir()} if job.checkpoint.is_dir() else set()
        if there and not {RECIPE, DATA} <= there:
            raise RunConflictError(f"{job.checkpoint} holds other things than a checkpoint; name another -o")
        return
    if not _has_begun(job.checkpoint):
        if job.out.exists():
            raise RunConflictError(f"{job.out} is there already; name another -o, or add --overwrite")
        return
    kept = job.checkpoint / RECIPE
    if not kept.is_file() or read_recipe(kept) != job.recipe:
        raise RunConflictError(
            f"{job.checkpoint} is of a training with other numbers; name another -o, or add --overwrite to start anew"
        )


def _open_checkpoint(job: Job, found: Cifar) -> None:
    """Keep in the checkpoint what the training is of, before it starts: so a full or read-only disk is noticed now.

    Raises: RunConflictError if the checkpoint that is there is of other data, StorageError.
    """
    data = {"sha256": found.sha256()}
    if job.overwrite or not _has_begun(job.checkpoint):
        with files.new_folder(job.checkpoint) as scratch:
            files.write_json(scratch / RECIPE, dataclasses.asdict(job.recipe))
            files.write_json(scratch / DATA, data)
    elif files.read_json(job.checkpoint / DATA) != data:
        raise RunConflictError(
            f"{job.checkpoint} is of a training on other data than {job.data}; name another -o, or add --overwrite to "
            f"start anew"
        )


def _has_begun(checkpoint: Path) -> bool:
    """Whether more lies there than what a training is of that has not finished an epoch."""
    return checkpoint.is_dir() and {path.name for path in checkpoint.iterdir()} != {RECIPE, DATA}
