"""The gradient of a batch: computed at once, or accumulated over micro-batches where memory runs out."""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferkit import ranks, runtime
from transferkit.runtime import arithmetic
from transferkit.tasks import Task
from transferkit.train import optim, replica

LEAST = replica.LEAST  # images of a micro-batch: of one, BatchNorm has no variance to divide by


class MicroBatches:
    """In how many micro-batches a batch is computed: twice as many from where memory runs out on.

    Args: say, who is told.
    """

    def __init__(self, count: int = 1, *, say: Callable[[str], None] = lambda line: None):
        self.count = count
        self._say = say

    def of(self, images: int) -> int:
        """How many a batch of so many images is computed in."""
        return max(1, min(self.count, images // LEAST))

    def double(self, images: int) -> None:
        """Take twice as many from a batch of so many images on."""
        self.count = min(2 * self.of(images), images // LEAST)
        most = math.ceil(images / self.count)
        self._say(f"out of memory: batches of {images} are computed in {self.count} micro-batches of {most}")


@dataclass(frozen=True, kw_only=True)
class Target:
    """Labels (B, ...) that count `share` of each image's loss, and the rows (B,) that have them."""

    share: float = 1.0
    labels: Tensor
    rows: np.ndarray

    def split(self, count: int) -> "list[Target]":
        """The target of each micro-batch."""
        pieces = zip(self.labels.tensor_split(count), np.array_split(self.rows, count))
        return [Target(share=self.share, labels=labels, rows=rows) for labels, rows in pieces]


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """How the gradient of a batch's mean loss comes into the weights of `network`, where `backward` leaves it.

    Fields: image_weights (N,), of the mean, None where all images count the same; moved, what a forward pass changes,
    a list of each type.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    criterion: Callable[[Tensor, Tensor], Tensor]
    task: Task
    image_weights: np.ndarray | None
    precision: str
    micro_batches: MicroBatches
    moved: Sequence[list[Tensor]]

    @functools.cached_property
    def _before(self) -> list[list[Tensor]]:
        """Room for copies of what is moved, taken once."""
        return [[torch.empty_like(tensor) for tensor in tensors] for tensors in self.moved]

    def backward(
        self, x: Any, targets: Sequence[Target], rows: np.ndarray, *, share: float, seed: Callable[[], None]
    ) -> tuple[Tensor, Tensor]:
        """The mean loss of the batch and how many of its images are right, both () and left on the device.

        The gradient is no longer scaled where the loss is.

        Where the memory of a GPU runs out it begins again in smaller ones, with everything as it was; not where there
        are several ranks, whose exchanges would no longer fit together.

        Args: x, the network's input; targets, the labels, several where images are mixed; share, the weight of the
        loss in that of all ranks; seed, called before the network draws anything.
        Shapes: x (B, ...), rows (B,).
        """
        device = targets[0].labels.device
        if ranks.size() == 1:
            for before, tensors in zip(self._before, self.moved):
                _copy(before, tensors)
        while True:
            seed()
            self.optimizer.zero_grad(set_to_none=True)
            try:
                found = self._accumulated(x, targets, rows, share=share)
                break
            except RuntimeError as error:
                can_halve = ranks.size() == 1 and self.micro_batches.of(len(rows)) < len(rows) // LEAST
                if not can_halve or not runtime.is_gpu_out_of_memory(error, device):
                    raise
            # the error is gone, and with it what its traceback held
            self.optimizer.zero_grad(set_to_none=True)
            runtime.give_back_memory(device)
            for tensors, before in zip(self.moved, self._before):
                _copy(tensors, before)
            self.micro_batches.double(len(rows))
        if scaler := optim.scaler_of(self.optimizer):
            scaler.unscale_(self.optimizer)
        return found

    def _accumulated(
        self, x: Any, targets: Sequence[Target], rows: np.ndarray, *, share: float
    ) -> tuple[Tensor, Tensor]:
        count, scaler = self.micro_batches.of(len(rows)), optim.scaler_of(self.optimizer)
        pieces = [(x, targets)] if count == 1 else _pieces(x, targets, count=count)
        most = max(range(len(targets)), key=lambda number: targets[number].share)
        losses, right = [], []
        for piece, named in pieces:
            with arithmetic(named[0].labels.device, self.precision):
                logits = self.network(piece).float()  # (B, K), or (B, n, K) of n networks
            loss, weight = self._loss(logits, named, rows)
            answers = logits if logits.ndim == 3 else logits[:, None]  # (B, n, K)
            # gradients are means over the ranks; each network learns as it does alone
            of_all = loss * (share * weight * ranks.size() * answers.shape[1])
            (scaler.scale(of_all) if scaler else of_all).backward()
            losses.append(loss.detach() if count == 1 else loss.detach() * weight)
            right.append(self.task.right(answers.mean(1), named[most].labels).sum())
        return functools.reduce(operator.add, losses), functools.reduce(operator.add, right)

    def _loss(self, logits: Tensor, targets: Sequence[Target], rows: np.ndarray) -> tuple[Tensor, float]:
        """A loss and what it counts in the mean of the batch: losses are linear in the labels, so shares mix them."""
        terms = [(self._mean_loss(logits, each.labels), each.share * self._weight(each.rows, rows)) for each in targets]
        if len(terms) == 1:
            return terms[0]
        return functools.reduce(operator.add, [loss * weight for loss, weight in terms]), 1.0

    def _mean_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The criterion; of the answers of several networks, the mean of theirs."""
        if logits.ndim == 3:
            labels, logits = labels.repeat_interleave(logits.shape[1], 0), logits.flatten(0, 1)
        return self.criterion(logits, labels)

    def _weight(self, some: np.ndarray, rows: np.ndarray) -> float:
        """What `some` of the batch's rows count in its mean loss, from 0 to 1."""
        if self.image_weights is None:
            return len(some) / len(rows)
        return self.image_weights[some].sum() / self.image_weights[rows].sum()


def _pieces(x: Any, targets: Sequence[Target], *, count: int) -> list[tuple[Any, tuple[Target, ...]]]:
    """Input and targets of each micro-batch."""
    inputs = list(zip(*(each.tensor_split(count) for each in x))) if isinstance(x, tuple) else x.tensor_split(count)
    return list(zip(inputs, zip(*(target.split(count) for target in targets))))


@torch.no_grad()
def _copy(into: list[Tensor], tensors: list[Tensor]) -> None:
    if into:
        torch.ops.aten._foreach_copy_(into, tensors)  # one launch for all
