"""The training loop: a generator that yields a record an epoch; keeping the best and stopping are the caller's."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferkit import seeds
from transferkit.train import optim, schedule
from transferkit.zoo.errors import DivergedError

# (batches of rows, epoch) -> the network's input and the rows of each; epoch None asks for images as they are
Supply = Callable[[list[np.ndarray], int | None], Iterator[tuple[Tensor, np.ndarray]]]

EVAL_BATCH = 32  # as fast as any measured on a CPU, and small enough for every accelerator


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The numbers of a training run."""

    epochs: int
    first_epoch: int = 0  # above 0 when a stopped run goes on
    batch_size: int
    warmup_share: float = 0.1  # of all steps
    label_smoothing: float = 0.0
    max_gradient_norm: float = 1.0
    balance: str = "none"  # none, weights, sampler
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The rows of a data set to train on, and the labels of all. Shapes: rows (n,), labels (N,)."""

    rows: np.ndarray
    labels: np.ndarray
    num_classes: int


def class_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Weights (K,) that make every class count the same: N / (K * n_c); a class without images gets 0.

    >>> class_weights(np.array([0, 0, 0, 1]), 2).round(3).tolist()
    [0.667, 2.0]
    """
    counts = np.bincount(labels, minlength=num_classes)
    return np.divide(len(labels), num_classes * counts, out=np.zeros(num_classes), where=counts > 0)


def epoch_order(examples: Examples, *, balance: str, seed: int, epoch: int) -> np.ndarray:
    """The rows (n,) in the order of this epoch; "sampler" draws them with replacement, every class as often."""
    rng = seeds.generator(seed, "order", epoch)
    if balance != "sampler":
        return rng.permutation(examples.rows)
    labels = examples.labels[examples.rows]
    share = class_weights(labels, examples.num_classes)[labels]
    return rng.choice(examples.rows, len(labels), p=share / share.sum())


def cut_batches(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Batches of nearly equal size, never of a single image: BatchNorm has no variance to divide by there.

    >>> [len(batch) for batch in cut_batches(np.arange(33), 32)], [len(batch) for batch in cut_batches(np.arange(3), 2)]
    ([17, 16], [3])
    """
    count = math.ceil(len(order) / batch_size)
    return np.array_split(order, max(1, min(count, len(order) // 2)))


def eval_batches(rows: np.ndarray) -> list[np.ndarray]:
    """Batches of `EVAL_BATCH` rows in their order; the last may be smaller."""
    return [rows[start : start + EVAL_BATCH] for start in range(0, len(rows), EVAL_BATCH)]


def train_epochs(
    network: nn.Module, optimizer: torch.optim.Optimizer, supply: Supply, examples: Examples, plan: Plan
) -> Iterator[dict[str, Any]]:
    """Train `network` in place under warm-up and cosine; yield {"epoch", "lr", "train", "seconds"} an epoch.

    Args: optimizer's groups each have their "base_lr"; the record's lr is the highest of the last step.
    Raises: DivergedError when a loss is not finite.
    """
    labels = torch.from_numpy(examples.labels)
    criterion = nn.CrossEntropyLoss(_weights_for(examples, plan), label_smoothing=plan.label_smoothing)
    for epoch in range(plan.first_epoch, plan.epochs):
        started = time.monotonic()
        order = epoch_order(examples, balance=plan.balance, seed=plan.seed, epoch=epoch)
        batches = cut_batches(order, plan.batch_size)
        steps = plan.epochs * len(batches)
        loss_sum, hits = 0.0, 0
        network.train()
        for number, (x, rows) in enumerate(supply(batches, epoch)):
            step = epoch * len(batches) + number
            factor = schedule.warmup_cosine(step, steps=steps, warmup=round(plan.warmup_share * steps))
            optim.set_lr(optimizer, factor)
            torch.manual_seed(seeds.integer(plan.seed, "dropout", epoch, number))
            y = labels[rows].to(x.device)  # (B,)
            logits = network(x)  # (B, K)
            loss = criterion.to(x.device)(logits, y)
            if not torch.isfinite(loss):
                raise DivergedError(f"the loss is {loss.item()} at step {step} of {steps}; use a lower --lr")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), plan.max_gradient_norm)
            optimizer.step()
            loss_sum += loss.item() * len(rows)
            hits += (logits.argmax(1) == y).sum().item()
        yield {
            "epoch": epoch,
            "phase": "finetune",
            "lr": max(group["lr"] for group in optimizer.param_groups),
            "train": {"loss": loss_sum / len(order), "accuracy": hits / len(order)},
            "seconds": round(time.monotonic() - started, 3),
        }


def _weights_for(examples: Examples, plan: Plan) -> Tensor | None:
    if plan.balance != "weights":
        return None
    return torch.from_numpy(class_weights(examples.labels[examples.rows], examples.num_classes)).float()


@torch.no_grad()
def logits_of(network: nn.Module, supply: Supply, rows: np.ndarray, *, num_classes: int) -> np.ndarray:
    """The logits (n, K) of `network` in eval mode for the images of `rows`, not augmented."""
    network.eval()
    found = np.empty((len(rows), num_classes), np.float32)
    start = 0
    for x, batch in supply(eval_batches(rows), None):
        found[start : start + len(batch)] = network(x).float().cpu().numpy()
        start += len(batch)
    return found
