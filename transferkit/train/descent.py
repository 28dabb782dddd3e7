"""Gradient descent through a network, judged after every epoch: the best epoch is kept, or the end of each cycle."""

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from transferkit import kinds, ranks
from transferkit.metrics import CALIBRATED, best_line
from transferkit.runtime import FP32
from transferkit.train import ensemble, full_batch, loop, outputs, state
from transferkit.train.average import RunningAverage
from transferkit.train.context import FitContext
from transferkit.train.loop import Examples, Loader
from transferkit.train.plan import Plan
from transferkit.train.state import State
from transferkit.trust import calibration
from transferkit.zoo.errors import DivergedError

PHASES = {"finetune": "fine-tuning", "head": "head on cached features"}  # as a person reads them


@dataclass(frozen=True, kw_only=True)
class Descent:
    """What a descent came to: how many epochs are worth repeating, and its logits (n, K) on the validation rows, fp32.

    Under a snapshot schedule `snapshots` is the comparison of metrics.json, and `members` are the states of the network
    whose probabilities are averaged, with the logits of each; there are none if the last snapshot alone is kept.
    `share` is how much of the way from where it started is kept, `seconds` what an epoch took.
    """

    epochs: int
    logits: np.ndarray
    share: float = 1.0
    seconds: float = 0.0
    members: tuple[State, ...] = ()
    member_logits: tuple[np.ndarray, ...] = ()
    snapshots: dict[str, Any] | None = None


def descend(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: Loader,
    parts: tuple[Examples, Examples],
    context: FitContext,
) -> Descent:
    """Train `network` on the first of `parts` and leave it with the weights of the epoch that was best on the second.

    What is validated, in the plan's precision, and kept is a running average of the weights over about one epoch. Best
    is the lowest calibrated validation loss, ties by accuracy; training ends early after `context.patience` epochs
    without a better one. Or the last is, if `context.to_the_end`. No epoch begins that `context.deadline` leaves no
    time for. An interrupted descent goes on from its checkpoint if `context.resume`. A snapshot schedule runs to its
    end; its snapshots are the weights themselves at the end of each cycle; the last of them is left in the network.

    Raises: DivergedError; if an epoch was complete before, its `epoch` is the best, whose weights are in the network.
    Source: averaging, Polyak and Juditsky 1992, https://doi.org/10.1137/0330046
    """
    train, val = parts
    whole = kinds.present(context.plan)
    judged = judged_network(network, optimizer, train, whole)
    course = _resumed(network, judged, optimizer, context) if context.resume else _Course()
    course.to_the_end = context.to_the_end
    plan = dataclasses.replace(whole, first_epoch=len(course.records))
    context.reporter.phase(PHASES[plan.phase], (plan.epochs - plan.first_epoch) * len(train.rows))
    left = dataclasses.replace(context, plan=plan)
    if plan.is_compiled:
        context.reporter.say("compiling the network: the first epoch takes minutes longer")
    try:
        with state.saving(context.checkpoint if ranks.is_first() else None, say=context.reporter.say) as save:
            for record in train_epochs(network, optimizer, loader, train, left):
                logits = _validate(judged, loader, val, record, precision=plan.precision)
                averaged = course.add(record, judged, logits=logits)
                is_last = record["epoch"] + 1 == plan.epochs
                if not is_last and (reason := course.end(plan, context)):
                    record["stopped"] = reason
                context.reporter.record(record)
                if "stopped" in record:
                    break
                if not is_last and context.checkpoint and ranks.is_first():
                    save(course.checkpoint(network, averaged, optimizer, is_one=judged is network))
    except DivergedError as error:
        if course.best:
            network.load_state_dict(course.best)
            error.epoch = course.best_epoch + 1
        raise
    if plan.has_cycles:
        return _judged(network, loader, val, course)
    network.load_state_dict(course.best)
    logits = course.best_logits
    if logits is None or plan.precision != FP32:  # it was before the stop, or epochs were compared in bfloat16
        logits = outputs.logits_of(network, loader, val.rows, num_classes=val.num_classes)
    return Descent(epochs=course.best_epoch + 1, logits=logits, seconds=course.seconds)


def train_epochs(
    network: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader, examples: Examples, context: FitContext
) -> Iterator[dict[str, Any]]:
    """Train `network` in place under `context.plan`, by mini-batches or on the full batch; yield a record an epoch."""
    plan = kinds.present(context.plan)
    if plan.full_batch_views:
        return full_batch.train_epochs(network, optimizer, loader, examples, context)
    inputs = loop.counted(loop.divided(loader), context.reporter)
    return loop.train_epochs(network, optimizer, inputs, examples, plan)


@dataclass(kw_only=True)
class _Course:
    """What a descent has come to: its records, the best weights and their logits, the ends of its cycles."""

    records: list[dict[str, Any]] = field(default_factory=list)
    best: State = field(default_factory=dict)
    best_logits: np.ndarray | None = None
    snapshots: list[State] = field(default_factory=list)
    to_the_end: bool = False

    @property
    def best_epoch(self) -> int:
        """Which epoch is kept."""
        return len(self.records) - 1 if self.to_the_end else best_line(self.records)

    def add(self, record: dict[str, Any], judged: nn.Module, *, logits: np.ndarray) -> State:
        """Take in an epoch; the state of the network that was judged."""
        self.records.append(record)
        averaged = state.snapshot(judged)
        record["best"] = self.best_epoch
        if record["best"] == record["epoch"]:
            self.best, self.best_logits = averaged, logits
        if "snapshot" in record:  # then it is the network itself that was judged
            self.snapshots.append(averaged)
        return averaged

    @property
    def seconds(self) -> float:
        """What an epoch took, in the mean."""
        return float(np.mean([record["seconds"] for record in self.records]))

    def end(self, plan: Plan, context: FitContext) -> str:
        """Why training ends with the last epoch that was taken in, before its plan does; "" if it goes on."""
        last = self.records[-1]
        if not plan.has_cycles and last["epoch"] - self.best_epoch >= context.patience:
            return f"epoch {self.best_epoch + 1} is still the best"
        is_whole = not plan.has_cycles or "snapshot" in last
        return "--budget leaves no time for more" if is_whole and not context.deadline.allows(self.seconds) else ""

    def checkpoint(
        self, network: nn.Module, averaged: State, optimizer: torch.optim.Optimizer, *, is_one: bool
    ) -> state.Checkpoint:
        """All that a stopped run goes on from, as copies; `is_one` where `averaged` is of the network itself."""
        return state.Checkpoint(
            model=averaged if is_one else state.snapshot(network),
            averaged=averaged,
            best=self.best,
            optimizer=state.optimizer_snapshot(optimizer),
            records=list(self.records),
            snapshots=tuple(self.snapshots),
        )


def _resumed(network: nn.Module, judged: nn.Module, optimizer: torch.optim.Optimizer, context: FitContext) -> _Course:
    """What a stopped descent had come to, put into the networks and the optimiser; nothing if no epoch was complete."""
    saved = context.checkpoint and state.newest(context.checkpoint, optimizer, say=context.reporter.say)
    if not saved:
        context.reporter.say("no epoch is complete: training begins with the first")
        return _Course()
    network.load_state_dict(saved.model)
    judged.load_state_dict(saved.averaged)
    state.restore_optimizer(optimizer, saved.optimizer)
    kinds.present(context.plan).micro_batches.count = saved.records[-1].get("micro_batches", 1)
    context.reporter.say(f"going on after epoch {len(saved.records)} of {kinds.present(context.plan).epochs}")
    for record in saved.records:
        context.reporter.record(record)
    return _Course(records=saved.records, best=saved.best, snapshots=list(saved.snapshots))


def _validate(
    network: nn.Module, loader: Loader, val: Examples, record: dict[str, Any], *, precision: str
) -> np.ndarray:
    """Complete an epoch's record with the scores on `val` and the seconds they took; the logits (n, K)."""
    started = time.monotonic()
    logits = outputs.logits_of(network, loader, val.rows, num_classes=val.num_classes, precision=precision)
    if not np.isfinite(logits).all():
        advice = loop.advice(precision)
        raise DivergedError(
            f"the answers of the network are no longer finite after epoch {record['epoch'] + 1}; use {advice}"
        )
    labels = val.labels[val.rows]
    calibrated = float(calibration.losses(logits, labels, val.task).mean())
    record["val"] = ranks.from_first(val.task.measured(logits, labels) | {CALIBRATED: calibrated})
    record["seconds"] = round(record["seconds"] + time.monotonic() - started, 3)
    return logits


def _judged(network: nn.Module, loader: Loader, val: Examples, course: _Course) -> Descent:
    """All snapshots if they validate better together than the last one alone, else that; it is left in the network."""
    logits = _logits_of_each(network, course.snapshots, loader, val)
    block = ranks.from_first(ensemble.compare(logits, val.labels[val.rows], val.task))
    about = {"epochs": len(course.records), "seconds": course.seconds, "snapshots": block}
    if block["chosen"] == "single":
        return Descent(logits=logits[-1], **about)
    members = {"members": tuple(course.snapshots), "member_logits": tuple(logits)}
    return Descent(logits=val.task.mean(logits), **members, **about)


def _logits_of_each(network: nn.Module, states: list[State], loader: Loader, val: Examples) -> list[np.ndarray]:
    found = []
    for held in states:
        network.load_state_dict(held)
        found.append(outputs.logits_of(network, loader, val.rows, num_classes=val.num_classes))
    return found


def repeat(
    network: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader, examples: Examples, context: FitContext
) -> tuple[State, ...]:
    """Train `network` once more on all of `examples`, without validation, and leave it with what `descend` would keep.

    Returns: the states at the ends of the cycles, if the schedule has any.
    Raises: DivergedError.
    """
    plan, snapshots = kinds.present(context.plan), []
    kept = judged_network(network, optimizer, examples, plan)
    context.reporter.phase("refitting", plan.epochs * len(examples.rows))
    for record in train_epochs(network, optimizer, loader, examples, context):
        if "snapshot" in record:
            snapshots.append(state.snapshot(network))
    if not loop.is_finite(kept):
        raise DivergedError("weights are no longer finite at the end; use a lower --lr")
    network.load_state_dict(kept.state_dict())
    return tuple(snapshots)


def judged_network(network: nn.Module, optimizer: torch.optim.Optimizer, examples: Examples, plan: Plan) -> nn.Module:
    """What is validated: under a schedule with cycles `network` itself, whose rate is zero where each of them ends.

    On the full batch `network` itself too: its steps have no noise to average out. Otherwise a copy that follows it
    after each step of `optimizer`, as the mean over about one epoch.
    """
    if plan.has_cycles or plan.full_batch_views:
        return network
    steps = len(loop.cut_batches(examples.rows, plan.batch_size))
    decay = 1 - 1 / max(steps, 2)
    averaged = RunningAverage(network, decay=decay)
    optimizer.register_step_post_hook(lambda *_: averaged.update())
    return averaged.network
