"""The optimisers on real images: a small network by mini-batches, and by L-BFGS on all images at once."""

from typing import Any

import torch
from torch import Tensor, nn

from slides import drawing
from slides.setting import Setting
from slides.small import SmallCifar, Variant, accuracy, fresh, logits_of, trained
from transferkit.train import full_batch
from transferkit.zoo.errors import DivergedError

NAMES = ("sgd", "momentum", "nesterov", "adam", "adamw")
RATES = {
    "sgd": (0.1, 0.3, 1.0),
    "momentum": (0.01, 0.03, 0.1),
    "nesterov": (0.01, 0.03, 0.1),
    "adam": (3e-4, 1e-3, 3e-3),
    "adamw": (3e-4, 1e-3, 3e-3),
}
EPOCHS, TRIAL_EPOCHS = 10, 3
PASSES = 60  # over all images, of L-BFGS


def optimisers(setting: Setting) -> dict[str, Any]:
    """The training loss by passes over the images, each optimiser at its best rate; writes optimisers.png."""
    problem, found, curves = setting.small, {}, {}
    for name in NAMES:
        lr = min(RATES[name], key=lambda lr: _end(problem, name, lr))
        run = trained(problem, Variant(optimizer=name, lr=lr, schedule="constant", epochs=EPOCHS), 0)
        curves[name] = [record["train"]["loss"] for record in run.records]
        found[name] = {"lr": lr, "loss": curves[name][-1], "accuracy": run.accuracy}
    curves["lbfgs"], network = _full_batch(problem)
    right = accuracy(logits_of(network, problem, problem.held_out), problem.held_out)
    found["lbfgs"] = {"loss": curves["lbfgs"][-1], "early": curves["lbfgs"][EPOCHS - 1], "accuracy": right}
    with drawing.picture(setting.out / "optimisers.png", size=(7, 4)) as (axes,):
        for style, (name, losses) in zip(drawing.LINES, curves.items()):
            axes.semilogx(range(1, len(losses) + 1), losses, label=name, markevery=max(1, len(losses) // 10), **style)
        axes.set(xlabel="passes over the images", ylabel="training loss")
        axes.set_xticks((1, 2, 5, 10, 20, 60), ("1", "2", "5", "10", "20", "60"))
        axes.minorticks_off()
        drawing.label_ends(axes)
    return found


def _end(problem: SmallCifar, name: str, lr: float) -> float:
    """The training loss of the last epoch of a short run."""
    try:
        run = trained(problem, Variant(optimizer=name, lr=lr, schedule="constant", epochs=TRIAL_EPOCHS), 0)
    except DivergedError:
        return float("inf")
    return run.records[-1]["train"]["loss"]


def _full_batch(problem: SmallCifar) -> tuple[list[float], nn.Module]:
    """The loss at every gradient that L-BFGS takes, and the network it leaves."""
    network = fresh(problem, Variant(), seed=0)
    rows = torch.from_numpy(problem.train.rows)
    x, labels = problem.images[rows], torch.from_numpy(problem.train.labels)[rows]
    optimizer = full_batch.make(network.parameters(), l2=0)
    optimizer.param_groups[0].update(max_iter=PASSES, max_eval=PASSES)
    losses = []

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(network(x), labels)
        value.backward()
        losses.append(value.item())
        return value

    optimizer.step(loss)
    return losses, network
