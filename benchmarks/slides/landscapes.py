"""Optimisers on two surfaces of two dimensions: a poorly conditioned bowl and a saddle."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slides import drawing
from slides.setting import Setting
from transferkit.train import full_batch, optim

CONDITION = 50  # of the bowl
RATES = tuple(10 ** (power / 4) for power in range(-16, 3))
STEPS = {"bowl": 150, "saddle": 220}
NAMES = ("sgd", "momentum", "nesterov", "adam", "lbfgs")
Surface = Callable[[Tensor], Tensor]


def bowl(w: Tensor) -> Tensor:
    """Half of x^2 + `CONDITION` y^2."""
    return 0.5 * (w[..., 0] ** 2 + CONDITION * w[..., 1] ** 2)


def saddle(w: Tensor) -> Tensor:
    """x^2 / 2 - y^2 / 2 + y^4 / 4: a saddle at the origin, minima of -1/4 at y = 1 and y = -1."""
    return 0.5 * (w[..., 0] ** 2 - w[..., 1] ** 2) + 0.25 * w[..., 1] ** 4


def path(name: str, surface: Surface, start: tuple[float, float], *, lr: float | None) -> np.ndarray:
    """The points at which the gradient was taken; L-BFGS has no rate, and its line search counts. Shapes: (n, 2)."""
    w = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    points = []

    def loss() -> Tensor:
        points.append(w.detach().numpy().copy())
        w.grad = None
        value = surface(w)
        value.backward()
        return value

    if name == "lbfgs":
        optimizer = full_batch.make([w], l2=0)
        optimizer.param_groups[0].update(max_iter=STEPS[surface.__name__], tolerance_grad=1e-4)
        optimizer.step(loss)
        loss()
        return np.array(points)
    optimizer = optim.make(name, [{"params": [w], "lr": lr, "l2": 0.0}])
    for _ in range(STEPS[surface.__name__]):
        optimizer.step(loss)
    loss()
    return np.array(points)


def heights(surface: Surface, points: np.ndarray) -> np.ndarray:
    return surface(torch.from_numpy(points)).numpy()


def conditioning(setting: Setting) -> dict[str, Any]:
    """Steps to the bottom of the bowl, each optimiser at its best of `RATES`; writes bowl.png."""
    start, found, paths = (-9.0, 1.5), {}, {}
    goal = 1e-4 * float(bowl(torch.tensor(start)))
    for name in NAMES:
        tried = {lr: path(name, bowl, start, lr=lr) for lr in (RATES if name != "lbfgs" else (None,))}
        lr = min(tried, key=lambda lr: (_first(heights(bowl, tried[lr]) <= goal), heights(bowl, tried[lr])[-1]))
        paths[name] = tried[lr]
        found[name] = {"lr": lr, "steps": _first(heights(bowl, paths[name]) <= goal)}
    _draw(setting, bowl, paths, reach=(-10, 4, -2.2, 2.2))
    return found


def escape(setting: Setting) -> dict[str, Any]:
    """Steps from near a saddle to a minimum, all at one rate; writes saddle.png."""
    start, found, paths = (-1.5, 1e-4), {}, {}
    for name in NAMES:
        lr = 0.05 if name != "lbfgs" else None
        paths[name] = path(name, saddle, start, lr=lr)
        found[name] = {"lr": lr, "steps": _first(heights(saddle, paths[name]) <= -0.24)}
    _draw(setting, saddle, paths, reach=(-1.7, 0.7, -0.4, 1.6))
    return found


def _first(holds: np.ndarray) -> int:
    """The first point from which on it holds at every one; their number if it never does."""
    broken = np.flatnonzero(~holds)
    return int(broken[-1]) + 1 if len(broken) else 0


def _draw(setting: Setting, surface: Surface, paths: dict[str, np.ndarray], *, reach: tuple[float, ...]) -> None:
    """The paths over lines of equal height within `reach`, left, right, low, high, and the height over the steps."""
    left, right, low, high = reach
    x, y = np.meshgrid(np.linspace(left, right, 200), np.linspace(low, high, 200))
    z = heights(surface, np.stack([x, y], -1))
    bottom = 0.0 if surface is bowl else -0.25
    with drawing.picture(setting.out / f"{surface.__name__}.png", panels=2, size=(10, 4)) as (plane, curve):
        levels = z.min() + (z.max() - z.min()) * np.linspace(0.0, 1, 14)[1:] ** 2
        plane.contour(x, y, z, levels=levels, colors="#c3c9d2", linewidths=0.8, linestyles="solid")
        for style, (label, points) in zip(drawing.LINES, paths.items()):
            every = max(1, len(points) // 12)
            plane.plot(*points.T, markevery=every, **style)
            above = np.maximum(heights(surface, points) - bottom, 1e-8)
            curve.semilogy(above, label=label, markevery=every, **style)
        plane.plot(*next(iter(paths.values()))[0], marker="*", markersize=13, color=drawing.INK)
        plane.set(xlim=(left, right), ylim=(low, high), xlabel="x", ylabel="y")
        plane.grid(visible=False)
        curve.set(xlabel="gradients taken", ylabel="height above the minimum", ylim=(1e-8, None))
        drawing.label_ends(curve)
