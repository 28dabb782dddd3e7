"""The ways from a pretrained network to a classifier: probe, finetune, lp-ft, and auto, which chooses by validation.

Source: LP-FT is Kumar et al. 2022, section 4, https://arxiv.org/abs/2202.10054
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferkit import metrics
from transferkit.model.build import Backbone
from transferkit.model.features import Features
from transferkit.model.freezer import freeze
from transferkit.train import fitting, loop, optim, state
from transferkit.train.fitting import Work
from transferkit.train.loop import Examples, Supply

FRESH_HEAD_FACTOR = 5  # learning rate of a head that starts at random, over that of the stage below it


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A network with a fresh head, the images to fit it to, and the numbers to do it with.

    `features` are those of the network as it is, None where no probe is wanted; `groups` (N,) names images that
    belong together.
    """

    model: Backbone
    features: Features | None
    supply: Supply
    train: Examples
    val: Examples
    groups: np.ndarray | None
    work: Work
    freeze: str | None
    lr: float
    layer_decay: float
    l2: float


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a strategy left in the model: which way won, the logits of the rows that judge it, and lines for the reader.

    Shapes: rows (n,), logits (n, K); `predict` gives the logits of other rows.
    """

    kept: str
    rows: np.ndarray
    logits: np.ndarray
    predict: Callable[[np.ndarray], np.ndarray]
    notes: tuple[str, ...] = ()


def run(strategy: str, problem: Problem) -> Fitted:
    """Fit `problem.model` in place by one of `config.STRATEGIES`."""
    if strategy == "finetune":
        return _finetuned(problem, "finetune", _descend(problem, head_factor=FRESH_HEAD_FACTOR))
    found = fitting.fit_probe(
        problem.features, problem.train, problem.val, groups=problem.groups, work=problem.work
    )  # fmt: skip
    if strategy == "probe" or (strategy == "auto" and problem.freeze == "backbone"):
        return _probed(problem, found)
    untouched = state.snapshot(problem.model)
    problem.model.set_linear(found.of_train.weight, found.of_train.bias)
    descent = _descend(problem, head_factor=1)
    if strategy == "lp-ft":
        return _finetuned(problem, "lp-ft", descent)
    return _better(problem, found, descent, untouched)


def _better(problem: Problem, found: fitting.Probe, descent: fitting.Descent, untouched: dict[str, Any]) -> Fitted:
    """Keep the probe unless fine-tuning beats it on validation by more than one standard error."""
    rows = problem.val.rows
    labels = problem.val.labels[rows]
    probed = found.of_train.logits(problem.features.plain_rows(rows)).numpy()
    before, after = (metrics.log_losses(logits, labels).mean() for logits in (probed, descent.logits))
    figures = f"validation loss {after:.3f} against {before:.3f} of the probe"
    if metrics.is_better(descent.logits, probed, labels):
        return _finetuned(problem, "lp-ft", descent, f"fine-tuning is kept: {figures}")
    problem.model.load_state_dict(untouched)
    return _probed(problem, found, f"the probe is kept, fine-tuning is not clearly better: {figures}")


def _probed(problem: Problem, found: fitting.Probe, *notes: str) -> Fitted:
    freeze(problem.model, "backbone")
    problem.model.set_linear(found.final.weight, found.final.bias)
    rows = np.sort(np.concatenate([problem.train.rows, problem.val.rows]))

    def predict(wanted: np.ndarray) -> np.ndarray:
        return found.final.logits(problem.features.plain_rows(wanted)).numpy()

    return Fitted(kept="probe", rows=rows, logits=found.held_out[rows], predict=predict, notes=notes)


def _finetuned(problem: Problem, kept: str, descent: fitting.Descent, *notes: str) -> Fitted:
    def predict(wanted: np.ndarray) -> np.ndarray:
        return loop.logits_of(problem.model, problem.supply, wanted, num_classes=problem.val.num_classes)

    notes = (*notes, f"best epoch: {descent.epoch + 1}")
    return Fitted(kept=kept, rows=problem.val.rows, logits=descent.logits, predict=predict, notes=notes)


def _descend(problem: Problem, *, head_factor: float) -> fitting.Descent:
    freeze(problem.model, problem.freeze)
    groups = optim.parameter_groups(
        problem.model, lr=problem.lr, layer_decay=problem.layer_decay, l2=problem.l2, head_factor=head_factor
    )
    parts = (problem.train, problem.val)
    return fitting.descend(problem.model, optim.adamw(groups), problem.supply, parts, problem.work)
