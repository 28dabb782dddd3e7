"""Two ways to fit a classifier: a probe on fixed features, and gradient descent through the network."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from transferkit import metrics
from transferkit.data import split
from transferkit.model.features import Features
from transferkit.train import loop, probe, state
from transferkit.train.loop import Examples, Plan, Supply

FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Work:
    """How fitting is done, and who is told.

    Fields: on_record gets every line of metrics.jsonl, on_phase the name and the number of images of what begins.
    """

    plan: Plan
    patience: int
    checkpoint: Path
    resume: bool
    on_record: Callable[[dict[str, Any]], None]
    on_phase: Callable[[str, int], None]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A probe and its evidence.

    Fields: final is fitted on train and val, of_train on train alone; held_out (N, K) are the out-of-fold logits of
    the rows of train and val, NaN elsewhere.
    """

    final: probe.Linear
    of_train: probe.Linear
    l2: float
    held_out: np.ndarray


def fit_probe(features: Features, train: Examples, val: Examples, *, groups: np.ndarray | None, work: Work) -> Probe:
    """Choose L2 by 5-fold cross-validation over train and val, then fit on both and on train alone.

    Each image counts twice, as it is and mirrored; both views of an image, and all images of a group, lie in the same
    fold.
    """
    rows = np.sort(np.concatenate([train.rows, val.rows]))
    labels = train.labels[rows]
    folds = split.folds(labels, FOLDS, seed=work.plan.seed, groups=None if groups is None else groups[rows])
    weights = _probe_weights(labels, train.num_classes, work.plan.balance)
    choice = probe.choose_l2(
        features.views(rows),
        torch.from_numpy(np.tile(labels, 2)),
        np.tile(folds, 2),
        judged=len(rows),
        class_weights=weights,
        on_value=work.on_record,
    )
    held_out = np.full((len(train.labels), train.num_classes), np.nan)
    held_out[rows] = choice.logits

    def fit(chosen: np.ndarray) -> probe.Linear:
        labels = torch.from_numpy(np.tile(train.labels[chosen], 2))
        return probe.fit(features.views(chosen), labels, choice.l2, class_weights=weights)

    return Probe(final=fit(rows), of_train=fit(train.rows), l2=choice.l2, held_out=held_out)


def _probe_weights(labels: np.ndarray, num_classes: int, balance: str) -> torch.Tensor:
    """Class weights (K,) of the probe's loss; drawing classes equally often and weighting them is the same problem."""
    if balance == "none":
        return torch.ones(num_classes)
    return torch.from_numpy(loop.class_weights(labels, num_classes)).float()


@dataclass(frozen=True, kw_only=True)
class Descent:
    """The best epoch of a gradient descent: its number, and its logits (n, K) on the validation rows."""

    epoch: int
    logits: np.ndarray


def descend(
    network: nn.Module, optimizer: torch.optim.Optimizer, supply: Supply, parts: tuple[Examples, Examples], work: Work
) -> Descent:
    """Train `network` on the first of `parts` and leave it with the weights of the epoch that was best on the second.

    What is validated and kept is a running average of the weights over about one epoch. Best is the lowest validation
    log loss, ties by accuracy. Training ends early after `work.patience` epochs without a better one. An interrupted
    descent goes on from its checkpoint if `work.resume`.

    Raises: DivergedError, StorageError.
    Source: averaging, Polyak and Juditsky 1992, https://doi.org/10.1137/0330046
    """
    train, val = parts
    plan, records, best = work.plan, [], {}
    averaged = _running_average(network, optimizer, steps=len(loop.cut_batches(train.rows, plan.batch_size)))
    if work.resume and (work.checkpoint / "state.json").is_file():
        saved = state.load(work.checkpoint, optimizer)
        network.load_state_dict(saved.model)
        averaged.load_state_dict(saved.averaged)
        optimizer.load_state_dict(saved.optimizer)
        records, best = saved.records, saved.best
        plan = dataclasses.replace(plan, first_epoch=len(records))
        for record in records:
            work.on_record(record)
    work.on_phase("fine-tuning", (plan.epochs - plan.first_epoch) * len(train.rows))
    for record in loop.train_epochs(network, optimizer, supply, train, plan):
        started = time.monotonic()
        logits = loop.logits_of(averaged, supply, val.rows, num_classes=val.num_classes)
        scores = metrics.scores(logits, val.labels[val.rows])
        record["val"] = {"loss": scores["loss"], "accuracy": scores["accuracy"]}
        record["seconds"] = round(record["seconds"] + time.monotonic() - started, 3)
        records.append(record)
        if best_epoch(records) == record["epoch"]:
            best = state.snapshot(averaged)
        work.on_record(record)
        if record["epoch"] - best_epoch(records) >= work.patience:
            break
        if record["epoch"] + 1 < plan.epochs:
            held = {"model": state.snapshot(network), "averaged": state.snapshot(averaged), "best": best}
            held = state.Checkpoint(**held, optimizer=optimizer.state_dict(), records=records)
            state.save(work.checkpoint, held)
    network.load_state_dict(best)
    logits = loop.logits_of(network, supply, val.rows, num_classes=val.num_classes)
    return Descent(epoch=best_epoch(records), logits=logits)


def repeat(
    network: nn.Module, optimizer: torch.optim.Optimizer, supply: Supply, examples: Examples, work: Work
) -> None:
    """Train `network` once more on all of `examples`, without validation, and leave it with the running average.

    Raises: DivergedError.
    """
    plan = work.plan
    averaged = _running_average(network, optimizer, steps=len(loop.cut_batches(examples.rows, plan.batch_size)))
    work.on_phase("refitting", plan.epochs * len(examples.rows))
    for _ in loop.train_epochs(network, optimizer, supply, examples, plan):
        pass
    network.load_state_dict(averaged.state_dict())


def _running_average(network: nn.Module, optimizer: torch.optim.Optimizer, *, steps: int) -> nn.Module:
    """A copy of `network` that follows it after each step of `optimizer`, as the mean over about `steps` steps."""
    decay = 1 - 1 / max(steps, 2)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    averaged.update_parameters(network)
    optimizer.register_step_post_hook(lambda *_: averaged.update_parameters(network))
    return averaged.module


def best_epoch(records: list[dict[str, Any]]) -> int:
    """The epoch of the lowest validation loss, of equal ones that of the highest accuracy, of those the first."""
    best = min(records, key=lambda record: (record["val"]["loss"], -record["val"]["accuracy"], record["epoch"]))
    return best["epoch"]
