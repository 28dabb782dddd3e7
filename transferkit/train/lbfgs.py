"""L-BFGS for a smooth convex function of one tensor.

torch.optim has one too, but making any of its optimisers imports torch's compiler, which takes longer than a whole
probe does; and it keeps 100 pairs, which are 8 GB for 5,000 classes and 2,048 features.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from transferkit.zoo import stops
from transferkit.zoo.errors import DivergedError

Objective = Callable[[Tensor], tuple[float, Tensor]]  # point -> value and gradient
Pair = tuple[Tensor, Tensor, float]  # a step, the change of the gradient over it, their scalar product

MAX_STEPS = 300  # a standardised problem needs 10 to 60
TOLERANCE = 1e-5  # of the value, to be gained by the next step; tenfold less moved no held-out loss by 0.001
ROUNDING = 1e-7  # of a value summed up from float32: less of a rise is none
DECREASE, CURVATURE = 1e-4, 0.9  # Nocedal and Wright 2006, section 3.1
MAX_TRIALS = 20  # of a step length
HISTORY = 10  # pairs of steps and changes of the gradient
HISTORY_BYTES = 256 * 2**20  # 3 pairs of 5,000 classes and 2,048 features, the least that is kept


def minimise(objective: Objective, start: Tensor) -> Tensor:
    """The point where the next step promises to lower the value by less than `TOLERANCE` of it.

    Raises: DivergedError if the value at the start is not finite.
    Source: Nocedal and Wright 2006, algorithms 7.4 and 7.5, https://doi.org/10.1007/978-0-387-40065-5
    """
    point = start
    value, gradient = objective(point)
    if not math.isfinite(value):
        raise DivergedError(
            f"the loss of the head is {value}: the network gives features that are no numbers; use other weights, or "
            "--precision fp32"
        )
    pairs: list[Pair] = []
    for _ in range(MAX_STEPS):
        stops.check()
        direction = _direction(gradient, pairs)
        slope = _dot(direction, gradient)
        enough = TOLERANCE * abs(value) if pairs else 0.0  # before the first step nothing is known of the curvature
        if -slope <= enough:
            break
        length, new_value, new_gradient = _search(objective, point, direction, value=value, slope=slope)
        if length == 0:
            break
        step, change = direction.mul_(length), new_gradient - gradient
        point, gradient = point + step, new_gradient
        product = _dot(step, change)
        if product > 0:
            pairs = [*pairs, (step, change, product)][-_history(point) :]
        value = new_value
    return point


def _direction(gradient: Tensor, pairs: list[Pair]) -> Tensor:
    """Minus the gradient times the inverse Hessian that the pairs tell of."""
    direction, shares = gradient.clone(), []
    for step, change, product in reversed(pairs):
        shares.append(_dot(step, direction) / product)
        direction.sub_(change, alpha=shares[-1])
    if pairs:
        _, change, product = pairs[-1]
        direction.mul_(product / _dot(change, change))
    for (step, change, product), share in zip(pairs, reversed(shares)):
        direction.add_(step, alpha=share - _dot(change, direction) / product)
    return direction.neg_()


def _search(
    objective: Objective, point: Tensor, direction: Tensor, *, value: float, slope: float
) -> tuple[float, float, Tensor]:
    """A length that lowers the value enough and leaves the steep part, with value and gradient there; 0 if none does.

    Source: Lewis and Overton 2013, algorithm 2.6, https://doi.org/10.1007/s10107-012-0514-2
    """
    low, high, length = 0.0, float("inf"), 1.0
    for _ in range(MAX_TRIALS):
        new_value, gradient = objective(point + length * direction)
        # written so that a value which is not a number counts as too high
        if not new_value <= value + DECREASE * length * slope + ROUNDING * abs(value):
            high = length
        elif _dot(gradient, direction) < CURVATURE * slope:
            low = length
        else:
            return length, new_value, gradient
        length = 2 * low if high == float("inf") else (low + high) / 2
    return 0.0, value, gradient


def _history(point: Tensor) -> int:
    """How many pairs are kept: fewer of a large problem."""
    return max(3, min(HISTORY, HISTORY_BYTES // (2 * point.numel() * point.element_size())))


def _dot(a: Tensor, b: Tensor) -> float:
    return torch.dot(a.view(-1), b.view(-1)).item()
