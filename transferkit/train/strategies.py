"""The ways from a pretrained network to a classifier: probe, finetune, lp-ft, and auto, which chooses by validation.

Source: LP-FT is Kumar et al. 2022, section 4, https://arxiv.org/abs/2202.10054
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch.optim import Optimizer

from transferkit import metrics
from transferkit.model.build import Backbone
from transferkit.model.features import Features
from transferkit.model.freezer import freeze
from transferkit.train import fitting, loop, optim, state
from transferkit.train.fitting import Work
from transferkit.train.loop import Examples, Supply

REFIT_IMAGES = 2000  # up to here a fit to all images is worth as much time again
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


@dataclass(frozen=True, kw_only=True)
class _Way:
    """One way of fine-tuning: its name, the head's learning rate over that below it, and how to begin it anew.

    `restart` puts the network where training on train and val begins.
    """

    name: str
    head_factor: float
    restart: Callable[[], None]


def run(strategy: str, problem: Problem) -> Fitted:
    """Fit `problem.model` in place by one of `config.STRATEGIES`."""
    model = problem.model
    untouched = state.snapshot(model)
    if strategy == "finetune":
        way = _Way(name="finetune", head_factor=FRESH_HEAD_FACTOR, restart=lambda: model.load_state_dict(untouched))
        return _finetuned(problem, way, _descend(problem, way))
    found = fitting.fit_probe(problem.features, problem.train, problem.val, groups=problem.groups, work=problem.work)

    def restart() -> None:
        model.load_state_dict(untouched)
        model.set_linear(found.final.weight, found.final.bias)

    if strategy == "probe" or (strategy == "auto" and problem.freeze == "backbone"):
        restart()
        return _probed(problem, found)
    way = _Way(name="lp-ft", head_factor=1, restart=restart)
    model.set_linear(found.of_train.weight, found.of_train.bias)
    descent = _descend(problem, way)
    if strategy == "lp-ft":
        return _finetuned(problem, way, descent)
    rows = problem.val.rows
    labels = problem.val.labels[rows]
    probed = found.of_train.logits(problem.features.plain_rows(rows)).numpy()
    before, after = (metrics.log_losses(logits, labels).mean() for logits in (probed, descent.logits))
    figures = f"validation loss {after:.3f} against {before:.3f} of the probe"
    if metrics.is_better(descent.logits, probed, labels):
        return _finetuned(problem, way, descent, f"fine-tuning is kept: {figures}")
    restart()
    return _probed(problem, found, f"the probe is kept, fine-tuning is not clearly better: {figures}")


def _probed(problem: Problem, found: fitting.Probe, *notes: str) -> Fitted:
    """What a probe leaves; it is judged by the logits that each image got from the folds without it."""
    freeze(problem.model, "backbone")
    rows = _train_and_val(problem)

    def predict(wanted: np.ndarray) -> np.ndarray:
        return found.final.logits(problem.features.plain_rows(wanted)).numpy()

    return Fitted(kept="probe", rows=rows, logits=found.held_out[rows], predict=predict, notes=notes)


def _finetuned(problem: Problem, way: _Way, descent: fitting.Descent, *notes: str) -> Fitted:
    """What a descent leaves: its best epoch, or, of few images, a fit to train and val for as many epochs.

    It is judged by the validation images, which the fit before the last has not seen.
    """
    notes = (*notes, f"best epoch: {descent.epoch + 1}")
    rows = _train_and_val(problem)
    if len(rows) <= REFIT_IMAGES:
        way.restart()
        plan = replace(problem.work.plan, first_epoch=0, epochs=descent.epoch + 1)
        everything, work = replace(problem.train, rows=rows), replace(problem.work, plan=plan)
        fitting.repeat(problem.model, _optimizer(problem, way), problem.supply, everything, work)
        notes = (*notes, "then fitted to train and validation together; the validation score is of the fit before")

    def predict(wanted: np.ndarray) -> np.ndarray:
        return loop.logits_of(problem.model, problem.supply, wanted, num_classes=problem.val.num_classes)

    return Fitted(kept=way.name, rows=problem.val.rows, logits=descent.logits, predict=predict, notes=notes)


def _train_and_val(problem: Problem) -> np.ndarray:
    return np.sort(np.concatenate([problem.train.rows, problem.val.rows]))


def _descend(problem: Problem, way: _Way) -> fitting.Descent:
    freeze(problem.model, problem.freeze)
    parts = (problem.train, problem.val)
    return fitting.descend(problem.model, _optimizer(problem, way), problem.supply, parts, problem.work)


def _optimizer(problem: Problem, way: _Way) -> Optimizer:
    """A fresh AdamW over the stages that are not frozen."""
    groups = optim.parameter_groups(
        problem.model, lr=problem.lr, layer_decay=problem.layer_decay, l2=problem.l2, head_factor=way.head_factor
    )
    return optim.adamw(groups)
