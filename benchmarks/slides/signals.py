"""What a network starts from: the scale of its weights, its activation function, the centre of its inputs."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slides import drawing
from slides.setting import Setting
from transferkit.train import optim
from transferkit.zoo.layers import he_normal

LAYERS, WIDTH, IMAGES = 10, 500, 1000
Fill = Callable[[Tensor], None]


def xavier(weight: Tensor) -> None:
    """Source: Glorot and Bengio 2010, equation 12, https://proceedings.mlr.press/v9/glorot10a.html"""
    nn.init.xavier_normal_(weight)


def tiny(weight: Tensor) -> None:
    nn.init.normal_(weight, std=0.01)


def activations(setting: Setting) -> dict[str, Any]:
    """The spread of activations and gradients through `LAYERS` layers; writes activations.png."""
    x = _centred(setting)
    starts = {
        "He": (he_normal, torch.relu),
        "Xavier": (xavier, torch.relu),
        "N(0, 0.01²)": (tiny, torch.relu),
    }
    functions = {
        "ReLU, He": (he_normal, torch.relu),
        "tanh, Xavier": (xavier, torch.tanh),
        "sigmoid, Xavier": (xavier, torch.sigmoid),
    }
    forward = {name: spreads(x, *start)[0] for name, start in starts.items()}
    backward = {name: spreads(x, *start)[1] for name, start in functions.items()}
    layers = range(1, LAYERS + 1)
    with drawing.picture(setting.out / "activations.png", panels=2) as (left, right):
        for axes, curves, title in (
            (left, forward, "activations behind ReLU, by initialisation"),
            (right, backward, "gradients of the weights, by activation"),
        ):
            for style, (name, values) in zip(drawing.LINES, curves.items()):
                axes.semilogy(layers, values, label=name, **style)
            axes.set(xlabel="layer", ylabel="root mean square", xticks=layers)
            axes.set_title(title, loc="left", fontsize=11)
            drawing.label_ends(axes)
    active = spreads(x, he_normal, torch.relu)[2]
    return {
        "spread": {
            key: forward[name][-1] / forward[name][0]
            for key, name in (("he", "He"), ("xavier", "Xavier"), ("tiny", "N(0, 0.01²)"))
        },
        "gradient": {
            key: backward[name][0] / backward[name][-1]
            for key, name in (("relu", "ReLU, He"), ("tanh", "tanh, Xavier"), ("sigmoid", "sigmoid, Xavier"))
        },
        "active": {"share": active},
    }


def spreads(x: Tensor, fill: Fill, activation: Callable[[Tensor], Tensor]) -> tuple[list[float], list[float], float]:
    """The root mean square of each layer's activations and of its weights' gradients, and the share above zero.

    The loss is a random linear function of the last layer's activations.
    """
    torch.manual_seed(0)
    sizes, weights, activities, active = [x.shape[1]] + [WIDTH] * LAYERS, [], [], []
    for inputs, outputs in pairwise(sizes):
        weights.append(torch.empty(outputs, inputs))
        fill(weights[-1])
        x = activation(nn.functional.linear(x, weights[-1].requires_grad_()))
        activities.append(_root_mean_square(x.detach()))
        active.append((x > 0).float().mean().item())
    (x * torch.randn_like(x)).sum().backward()
    return activities, [_root_mean_square(weight.grad) for weight in weights], float(np.mean(active))


def _root_mean_square(x: Tensor) -> float:
    return x.square().mean().sqrt().item()


def _centred(setting: Setting) -> Tensor:
    """Pixels less the mean image, on one scale. Shapes: (IMAGES, 3072)."""
    small = setting.small
    x = (small.images[:IMAGES] - small.mean).flatten(1)
    return x / x.std()


STEPS = 60
RATES = tuple(2.0**power for power in range(-9, 0))


def centring(setting: Setting) -> dict[str, Any]:
    """What the centre of the inputs does to softmax regression by gradient descent; writes centring.png."""
    small = setting.small
    raw = small.images[:IMAGES].flatten(1)
    labels = torch.from_numpy(small.train.labels[:IMAGES])
    found, curves = {}, {}
    for key, name, x in (
        ("raw", "pixels in 0..1", raw),
        ("centred", "less the mean image", raw - small.mean.flatten()),
    ):
        lr, curves[name] = min((_descended(x, labels, lr) for lr in RATES), key=lambda run: run[1][-1])
        found[key] = {
            "largest": torch.linalg.eigvalsh(x @ x.T / len(x))[-1].item(),  # that of x.T @ x, which is larger
            "lr": lr,
            "loss": curves[name][-1],
            "same_sign": _same_sign(x, labels),
        }
    with drawing.picture(setting.out / "centring.png", size=(6.2, 3.4)) as (axes,):
        for style, (name, losses) in zip(drawing.LINES, curves.items()):
            axes.plot(losses, label=name, markevery=10, **style)
        axes.set(xlabel="step of gradient descent", ylabel="training loss")
        drawing.label_ends(axes)
    return found


def _descended(x: Tensor, labels: Tensor, lr: float) -> tuple[float, list[float]]:
    """The rate and the losses of gradient descent at it, infinite once it has diverged."""
    layer = nn.Linear(x.shape[1], int(labels.max()) + 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = optim.make("sgd", optim.groups_of(layer.parameters(), lr=lr, l2=0.0))
    losses = []
    for _ in range(STEPS):
        loss = nn.functional.cross_entropy(layer(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item() if math.isfinite(loss.item()) else math.inf)
    return lr, losses


def _same_sign(x: Tensor, labels: Tensor) -> float:
    """Of one image's gradient for one class's weights, the share that has the commoner sign, zeros left out."""
    shares = []
    for row, label in zip(x[:100], labels):
        gradient = (0.1 - 1.0) * row if label == 0 else 0.1 * row  # of class 0, where all classes are as likely
        positive = (gradient > 0).sum().item()
        shares.append(max(positive, (gradient < 0).sum().item()) / (gradient != 0).sum().item())
    return float(np.mean(shares))
