"""L-BFGS through a network: each step is led by the loss of all images, added up over batches as memory allows.

The network stays in evaluation mode and sees the same views of the images each time, so that the loss is a function of
the weights alone: differences of its gradients then tell of curvature, and of nothing else.
"""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferkit import kinds, ranks
from transferkit.model.build import Backbone
from transferkit.options import Options
from transferkit.runtime import FP32, arithmetic
from transferkit.train import loop, replica
from transferkit.train.context import FitContext
from transferkit.train.loop import Examples, Loader
from transferkit.train.plan import Plan
from transferkit.zoo import stops
from transferkit.zoo.errors import DivergedError, UsageError

STEPS = 5  # an epoch
MAX_EVALUATIONS = 4 * STEPS  # of loss and gradient, an epoch; one or two a step are usual
HISTORY = 10  # pairs of steps and changes of the gradient; 3 to 20, Nocedal and Wright 2006, section 7.2
SLOTS = 2 * HISTORY + 2  # numbers kept of each weight: the pairs, the last direction and gradient
MAX_WEIGHTS = 3_000_000  # 0.3 GB of slots in memory, and as much on disk for each of two checkpoints
LISTS = ("old_dirs", "old_stps", "ro")  # of the state of torch's L-BFGS


class Lbfgs(torch.optim.LBFGS):
    """torch's L-BFGS with a state of tensors and numbers alone, which a checkpoint can keep."""

    def state_dict(self) -> dict[str, Any]:
        """The state; the pairs are stacked, and what a step computes only for itself is left out."""
        held = super().state_dict()
        return held | {"state": {number: _stacked(slots) for number, slots in held["state"].items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state over."""
        slots = {number: _listed(slots) for number, slots in state_dict["state"].items()}
        super().load_state_dict(state_dict | {"state": slots})


def _stacked(slots: dict[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in slots.items() if name not in (*LISTS, "al")}
    return plain | {name: torch.stack(slots[name]) for name in LISTS if slots.get(name)}


def _listed(slots: dict[str, Any]) -> dict[str, Any]:
    # in memory of their own: sums have other last bits where a vector begins elsewhere than torch lets one begin
    plain = {name: value.clone() if isinstance(value, Tensor) else value for name, value in slots.items()}
    return plain | {name: [value.clone() for value in slots.get(name, ())] for name in LISTS}


def make(parameters: Iterable[nn.Parameter], *, l2: float) -> Lbfgs:
    """L-BFGS with a strong Wolfe line search; a call of `step` takes `STEPS` steps, led by loss + l2 * sum(W ** 2).

    Source: Nocedal and Wright 2006, algorithms 7.5 and 3.5, https://doi.org/10.1007/978-0-387-40065-5
    """
    group = {"params": [parameter for parameter in parameters if parameter.requires_grad], "l2": l2}
    return Lbfgs(
        [group],
        max_iter=STEPS,
        max_eval=MAX_EVALUATIONS,
        history_size=HISTORY,
        line_search_fn="strong_wolfe",
    )


def check(model: Backbone) -> None:
    """Refuse a network that is too large, or whose loss would not be the same at each look. Raises: UsageError."""
    weights = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if weights > MAX_WEIGHTS:
        raise UsageError(
            f"--optimizer lbfgs keeps {SLOTS} numbers for each weight that it trains and takes up to {MAX_WEIGHTS:,}, "
            f"here are {weights:,}; freeze more (--dry-run lists the stages), or use adamw"
        )
    was_training = model.training
    moving = replica.statistics(model.train())
    model.train(was_training)
    if moving:
        raise UsageError(
            "--optimizer lbfgs cannot train BatchNorm without weights, whose statistics move at each look at the "
            "images; use pretrained weights, another --backbone, or adamw"
        )
    if ranks.launched():
        raise UsageError("--optimizer lbfgs trains a network in one process; drop --processes, or use adamw")


def plan_of(options: Options) -> Plan:
    """The numbers of training on the full batch in options that are filled in."""
    return Plan(
        epochs=kinds.present(options.epochs),
        batch_size=loop.EVAL_BATCH,
        label_smoothing=options.label_smoothing,
        balance=options.balance,
        seed=options.seed,
        precision=FP32,
        full_batch_views=kinds.present(options.views),
    )


def train_epochs(
    network: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader, examples: Examples, context: FitContext
) -> Iterator[dict[str, Any]]:
    """Train `network` in place under `context.plan`; yield a record an epoch, of the fields of `loop.train_epochs`.

    "train" is what the epoch ends with, "lr" the length of its last step, 1 where the estimate of curvature fits.

    Args: optimizer, made by `make`.
    Raises: DivergedError when the loss is not finite after an epoch.
    """
    plan = kinds.present(context.plan)
    whole = _Whole(network=network, loader=loader, examples=examples, context=context)
    network.eval()
    for epoch in range(plan.first_epoch, plan.epochs):
        started = time.monotonic()
        optimizer.step(lambda: whole.loss_and_gradient(optimizer))
        loss, accuracy = whole.scores()
        if not math.isfinite(loss):
            raise DivergedError(f"the loss is {loss} after epoch {epoch + 1}; use another --optimizer")
        length = float(next(iter(optimizer.state.values())).get("t", 1.0))
        yield {
            "epoch": epoch,
            "phase": plan.phase,
            "lr": length,
            "lrs": [length],
            "train": {"loss": loss, "accuracy": accuracy},
            "seconds": round(time.monotonic() - started, 3),
        }
        network.eval()


@dataclass(frozen=True, kw_only=True)
class _Whole:
    """A network and all images in all views that it is trained on."""

    network: nn.Module
    loader: Loader
    examples: Examples
    context: FitContext

    def loss_and_gradient(self, optimizer: torch.optim.Optimizer) -> float:
        """The mean loss with L2; the gradient is left in the weights."""
        (group,) = optimizer.param_groups
        optimizer.zero_grad()
        value = 0.0
        for loss, _, _ in self._batches():
            loss.backward()
            value += loss.item()
        matrices = [weight for weight in group["params"] if weight.ndim > 1]
        penalty = group["l2"] * torch.stack([weight.square().sum() for weight in matrices]).sum()
        penalty.backward()
        value += penalty.item()
        is_finite = math.isfinite(value)
        for weight in group["params"]:
            if not is_finite:  # torch's search halves a step whose end has no slope
                weight.grad = torch.full_like(weight, math.nan)
            if weight.grad is not None:
                weight.grad = weight.grad.contiguous()  # torch's L-BFGS takes no channels_last
        return value if is_finite else math.inf

    @torch.no_grad()
    def scores(self) -> tuple[float, float]:
        """Mean loss and accuracy; the reporter hears of each image once."""
        value, hits = 0.0, 0
        count = len(self.examples.rows) * kinds.present(self.context.plan).full_batch_views
        for loss, right, images in self._batches():
            value += loss.item()
            hits += right
            self.context.reporter.advance(images)
        return value, hits / count

    def _batches(self) -> Iterator[tuple[Tensor, int, int]]:
        """Of each batch its part of the mean loss, how many images are right, and how many are in the first view."""
        plan, examples = kinds.present(self.context.plan), self.examples
        device, labels, task = next(self.network.parameters()).device, torch.from_numpy(examples.labels), examples.task
        class_weights = None
        if plan.balance == "weights":
            class_weights = task.class_weights(examples.labels[examples.rows], examples.num_classes)
        weights = task.image_weights(examples.labels, class_weights)
        weights = np.ones(len(labels)) if weights is None else weights
        total = plan.full_batch_views * weights[examples.rows].sum()
        criterion = task.criterion(class_weights, label_smoothing=plan.label_smoothing, device=device)
        for view in range(plan.full_batch_views):
            for x, rows in self.loader(loop.eval_batches(examples.rows), view):
                stops.check()
                with arithmetic(device, plan.precision):
                    logits = self.network(x).float()  # (B, K)
                y = loop.to_device(labels[rows], device)  # (B,), or as the task has it
                share = float(weights[rows].sum() / total)
                yield criterion(logits, y) * share, int(task.right(logits, y).sum()), len(rows) * (view == 0)
