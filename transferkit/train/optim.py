"""The five first-order optimisers, over the stages of a network."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from transferkit.choices import OPTIMIZERS
from transferkit.model.build import Backbone
from transferkit.zoo.errors import DivergedError, UsageError

MOMENTUM = 0.9  # Krizhevsky et al. 2012, section 5, https://doi.org/10.1145/3065386; the usual value since
ADAM_BETAS = (0.9, 0.99)  # the lecture's; Kingma and Ba 2015 have 0.999
ADAMW_BETAS = (0.9, 0.999)  # Loshchilov and Hutter 2019; what fine-tuning was measured with
EPSILON = 1e-8  # Kingma and Ba 2015, algorithm 1
LEAST_SCALE = 1.0  # of a loss: gradients that overflow below it would in single precision too


def parameter_groups(
    model: Backbone, *, lr: float, layer_decay: float, l2: float, head_factor: float = 1.0
) -> list[dict[str, Any]]:
    """The groups of every trainable stage, its learning rate `layer_decay` times that of the stage above it.

    Each group keeps its rate in "base_lr".

    Args: lr, the rate of the deepest stage below the head; head_factor, the head's rate over it; l2, what `make` makes
    of it.

    Source: Clark et al. 2020, appendix A (layer-wise decay), https://arxiv.org/abs/2003.10555
    """
    groups = []
    for height, (_, parameters) in enumerate(reversed(model.stage_parameters().items())):
        rate = lr * (head_factor if height == 0 else layer_decay ** (height - 1))
        groups += groups_of([p for _, p in parameters if p.requires_grad], lr=rate, l2=l2)
    return groups


def groups_of(parameters: Iterable[nn.Parameter], *, lr: float, l2: float) -> list[dict[str, Any]]:
    """One group of the matrices and kernels, with `l2`, and one of the vectors (biases, normalisation), without."""
    parts = {l2: [], 0.0: []}
    for parameter in parameters:
        parts[l2 if parameter.ndim > 1 else 0.0].append(parameter)
    return [{"params": chosen, "lr": lr, "base_lr": lr, "l2": decay} for decay, chosen in parts.items() if chosen]


def make(name: str, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """A first-order optimiser over `groups`, each with its learning rate "lr" and its "l2".

    sgd, momentum, nesterov and adam minimise loss + l2 * sum(W ** 2): the gradient of W gains 2 * l2 * W, which
    momentum and Adam's averages then see like the rest of it. adamw decouples the decay: beside Adam's step, each step
    shrinks W by lr * l2 * W, so its l2 is another number, usually a larger one.

    Raises: UsageError for lbfgs, and for a name nobody knows.
    Source: Sutskever et al. 2013, equations 3 and 4 (Nesterov), https://proceedings.mlr.press/v28/sutskever13.html;
    Kingma and Ba 2015, algorithm 1, https://arxiv.org/abs/1412.6980; Loshchilov and Hutter 2019, algorithm 2,
    https://arxiv.org/abs/1711.05101
    """
    gradient_of_l2 = 1 if name == "adamw" else 2  # torch adds weight_decay * W to the gradient
    groups = [{**group, "weight_decay": gradient_of_l2 * group["l2"]} for group in groups]
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    # one pass over the weights, a third of the time of torch's default on a CPU; None leaves the choice to torch
    fused = devices <= {"cpu", "cuda"} or None
    on_gpu = devices == {"cuda"} or None  # there SGD too: where the loss is scaled, another one waits for the device
    match name:
        case "sgd":
            return torch.optim.SGD(groups, fused=on_gpu)
        case "momentum" | "nesterov":
            return torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=name == "nesterov", fused=on_gpu)
        case "adam":
            return torch.optim.Adam(groups, betas=ADAM_BETAS, eps=EPSILON, fused=fused)
        case "adamw":
            return torch.optim.AdamW(groups, betas=ADAMW_BETAS, eps=EPSILON, fused=fused)
        case "lbfgs":
            raise UsageError(
                "lbfgs learns the curvature from differences of gradients, which mini-batches turn into noise; "
                "use `train.full_batch` on all examples at once"
            )
        case _:
            raise UsageError(f"the optimiser {name!r} is unknown; allowed: {', '.join(OPTIMIZERS)}")


def scaled(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """`optimizer` of a loss that is scaled, so that gradients in fp16 are neither zero nor infinite.

    A step whose gradients are not finite changes no weight and halves the scale, which is part of the state.

    Source: Micikevicius et al. 2018, section 3.2, https://arxiv.org/abs/1710.03740
    """
    scaler = torch.amp.GradScaler(optimizer.param_groups[0]["params"][0].device.type)
    vars(optimizer)["scaler"] = scaler
    optimizer.register_state_dict_post_hook(lambda _, state: {**state, "scaler": scaler.state_dict()})
    optimizer.register_load_state_dict_pre_hook(lambda _, state: scaler.load_state_dict(state["scaler"]))
    return optimizer


def scaler_of(optimizer: torch.optim.Optimizer) -> torch.amp.GradScaler | None:
    """What scales the loss of `optimizer`; None where nothing does."""
    return vars(optimizer).get("scaler")


def step(optimizer: torch.optim.Optimizer) -> None:
    """A step along the gradients, which are no longer scaled; none if one of them is not finite in fp16."""
    if scaler := scaler_of(optimizer):
        scaler.step(optimizer)
        scaler.update()
    else:
        optimizer.step()


def check_scale(optimizer: torch.optim.Optimizer) -> None:
    """Ask the device for the scale of the loss, if it has one. Raises: DivergedError if it is below all that help."""
    scaler = scaler_of(optimizer)
    if scaler and scaler.get_scale() < LEAST_SCALE:
        raise DivergedError("gradients are not finite in fp16 at any scale; use --precision fp32, or a lower --lr")


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Give every group its base rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
