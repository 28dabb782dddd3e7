"""The training loop: a generator that yields a record an epoch; keeping the best and stopping are the caller's."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferkit import kinds, ranks, seeds
from transferkit.kernels import convolution_search
from transferkit.messages import Reporter
from transferkit.model.eval_batch import EVAL_BATCH
from transferkit.runtime import FP16, compile_errors
from transferkit.tasks import SINGLE_LABEL, Task
from transferkit.train import clipping, optim, replica
from transferkit.train.plan import Plan
from transferkit.train.schedule import Schedule
from transferkit.train.step import Gradient, Target
from transferkit.zoo import stops
from transferkit.zoo.errors import DivergedError

Inputs = Tensor | tuple[Tensor, ...]  # of a network, or of its part above a boundary
# (batches of rows, epoch) -> the network's input and the rows of each; epoch None asks for images as they are
Loader = Callable[[list[np.ndarray], int | None], Iterator[tuple[Inputs, np.ndarray]]]
ImageLoader = Callable[[list[np.ndarray], int | None], Iterator[tuple[Tensor, np.ndarray]]]  # of a whole network

LOOK_EVERY = 20  # steps, after which losses are brought from the device
LR_POINTS = 8  # of an epoch at which the learning rate is recorded, the last one at its end


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The rows of a data set to train on, and the labels of all. Shapes: rows (n,), labels (N, ...) of the task."""

    rows: np.ndarray
    labels: np.ndarray
    num_classes: int
    task: Task = SINGLE_LABEL


def epoch_order(examples: Examples, *, balance: str, seed: int, epoch: int) -> np.ndarray:
    """The rows (n,) in the order of this epoch; "sampler" draws them with replacement, every class as often."""
    rng = seeds.generator(seed, "order", epoch)
    if balance != "sampler":
        return rng.permutation(examples.rows)
    labels = examples.labels[examples.rows]
    share = kinds.present(
        examples.task.image_weights(labels, examples.task.class_weights(labels, examples.num_classes))
    )
    return rng.choice(examples.rows, len(labels), p=share / share.sum())


def cut_batches(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Batches of nearly equal size, never of a single image: BatchNorm has no variance to divide by there.

    >>> [len(batch) for batch in cut_batches(np.arange(33), 32)], [len(batch) for batch in cut_batches(np.arange(3), 2)]
    ([17, 16], [3])
    """
    count = math.ceil(len(order) / batch_size)
    return np.array_split(order, max(1, min(count, len(order) // 2)))


def eval_batches(rows: np.ndarray, size: int = EVAL_BATCH) -> list[np.ndarray]:
    """Batches of `size` rows in their order; the last may be smaller."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def divided(loader: Loader) -> Loader:
    """`loader` that gives only what this rank computes of each batch."""

    def parts(batches: list[np.ndarray], epoch: int | None) -> Iterator[tuple[Inputs, np.ndarray]]:
        return loader([replica.part(batch) for batch in batches], epoch)

    return parts if ranks.size() > 1 else loader


def counted(loader: Loader, reporter: Reporter) -> Loader:
    """`loader` of which `reporter` hears how many training images have gone through."""

    def batches_of(batches: list[np.ndarray], epoch: int | None) -> Iterator[tuple[Inputs, np.ndarray]]:
        for batch, inputs in zip(batches, loader(batches, epoch)):
            yield inputs
            if epoch is not None:
                reporter.advance(len(batch))

    return batches_of


def to_device(values: Tensor, device: str | torch.device) -> Tensor:
    """`values` on `device`; on its way to a CUDA device the copy overlaps with what the device computes."""
    if torch.device(device).type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step did: the loss before it, the images it was taken on and how many were right, the highest rate."""

    loss: float
    images: int
    hits: int
    lr: float


def train_steps(
    network: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader, examples: Examples, plan: Plan
) -> Iterator[Step]:
    """Train `network` in place for the first epoch of `plan` and yield what each step did.

    No step waits for the device: losses are looked at every `LOOK_EVERY` steps and at the end, so that up to as many
    have been taken when one is yielded. Where there are several ranks, `loader` gives this one's parts of the batches;
    a step is that of whole batches.

    Raises: DivergedError when a loss is not finite; the steps before it are yielded first.
    """
    labels, device, epoch = torch.from_numpy(examples.labels), next(network.parameters()).device, plan.first_epoch
    weights = _weights_for(examples, plan)
    criterion = examples.task.criterion(weights, label_smoothing=plan.label_smoothing, device=device)
    image_weights = examples.task.image_weights(examples.labels, weights)
    rates = plan.schedule or Schedule(name="cosine", epochs=plan.epochs)
    batches = cut_batches(epoch_order(examples, balance=plan.balance, seed=plan.seed, epoch=epoch), plan.batch_size)
    network.train()
    statistics = replica.statistics(network)
    gradient = Gradient(
        network=network,
        optimizer=optimizer,
        criterion=criterion,
        task=examples.task,
        image_weights=image_weights,
        precision=plan.precision,
        micro_batches=plan.micro_batches,
        moved=(statistics, replica.counters(network)),
    )
    clipper = clipping.Clipper(network.parameters(), max_norm=plan.max_gradient_norm)
    taken: list[_Taken] = []
    for number, (x, rows) in enumerate(loader(batches, epoch)):
        stops.check()
        step = epoch * len(batches) + number
        optim.set_lr(optimizer, rates.factor(step, steps_per_epoch=len(batches)))
        x, shares = plan.mixing.of(x, rows, seed=plan.seed, epoch=epoch, step=number)
        targets = [Target(share=part, labels=to_device(labels[some], device), rows=some) for part, some in shares]
        share = replica.share(batches[number], image_weights)
        seed = partial(replica.seed_step, plan.seed, epoch=epoch, step=number)
        loss, right = gradient.backward(x, targets, rows, share=share, seed=seed)
        clipper.clip()
        ranks.average(statistics)
        optim.step(optimizer)
        lr = max(group["lr"] for group in optimizer.param_groups)
        taken.append(_Taken(loss=loss, right=right, share=share, images=len(batches[number]), lr=lr))
        if len(taken) == LOOK_EVERY or number + 1 == len(batches):
            yield from _looked_at(taken, first=number + 1 - len(taken), plan=plan)
            taken.clear()
            optim.check_scale(optimizer)


@dataclass(frozen=True, kw_only=True)
class _Taken:
    """A step whose figures are still on the device: the loss of this rank's part, its share, how many are right."""

    loss: Tensor
    right: Tensor
    share: float
    images: int
    lr: float


def _looked_at(taken: Sequence[_Taken], *, first: int, plan: Plan) -> Iterator[Step]:
    """What those steps did, the first of which had this number in its epoch. Raises: DivergedError."""
    losses = torch.stack([each.loss for each in taken]).tolist()
    right = torch.stack([each.right for each in taken]).tolist()
    own = [each.share * loss for each, loss in zip(taken, losses)]
    own += [hits if each.share else 0 for each, hits in zip(taken, right)]
    sums = ranks.total(own)
    for number, (each, mean, hits) in enumerate(zip(taken, sums, sums[len(taken) :]), first + 1):
        if not math.isfinite(mean):
            where = f"step {number} of epoch {plan.first_epoch + 1}"
            raise DivergedError(f"the loss is {mean} at {where}; use {advice(plan.precision)}")
        yield Step(loss=mean, images=each.images, hits=int(hits), lr=each.lr)


def train_epochs(
    network: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader, examples: Examples, plan: Plan
) -> Iterator[dict[str, Any]]:
    """Train `network` in place under the plan's schedule; yield a record an epoch.

    A record is {"epoch", "phase", "lr", "lrs", "train", "seconds"}: lr is the highest of the last step, lrs those at
    `LR_POINTS` points of the epoch; where a cycle ends, "snapshot" is its number; where memory ran out,
    "micro_batches" is in how many a batch is computed.

    Args: optimizer's groups each have their "base_lr".
    Raises: DivergedError when a loss is not finite.
    """
    ends = plan.schedule.snapshot_epochs() if plan.schedule else ()
    device = next(network.parameters()).device
    whole = plan.epochs * len(cut_batches(examples.rows, plan.batch_size))  # steps, those before a stop too
    network = replica.replicated(network)
    if plan.is_compiled:
        compiled: Any = torch.compile(network)  # a module, which its type does not say
        network = compiled
    for epoch in range(plan.first_epoch, plan.epochs):
        started = time.monotonic()
        with compile_errors(), convolution_search(device, steps=whole):
            steps = list(train_steps(network, optimizer, loader, examples, replace(plan, first_epoch=epoch)))
        images = sum(step.images for step in steps)
        points = np.maximum(np.linspace(0, len(steps), LR_POINTS + 1)[1:].round().astype(int) - 1, 0)
        yield {
            "epoch": epoch,
            "phase": plan.phase,
            "lr": steps[-1].lr,
            "lrs": [steps[point].lr for point in points],
            "train": {
                "loss": sum(step.loss * step.images for step in steps) / images,
                "accuracy": sum(step.hits for step in steps) / images,
            },
            "seconds": round(time.monotonic() - started, 3),
            **({"micro_batches": plan.micro_batches.count} if plan.micro_batches.count > 1 else {}),
            **({"snapshot": ends.index(epoch) + 1} if epoch in ends else {}),
        }


def advice(precision: str) -> str:
    """What helps against numbers that are not finite."""
    return "--precision fp32, or a lower --lr" if precision == FP16 else "a lower --lr"


def is_finite(network: nn.Module) -> bool:
    """Whether all weights are numbers: the last step of a training may leave others, which no loss shows."""
    return all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())


def _weights_for(examples: Examples, plan: Plan) -> np.ndarray | None:
    if plan.balance != "weights":
        return None
    return examples.task.class_weights(examples.labels[examples.rows], examples.num_classes)
