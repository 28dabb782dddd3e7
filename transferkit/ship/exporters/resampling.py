"""Pillow's resize as nodes of an ONNX graph.

Written as products with two matrices of weights it is Pillow's bit for bit, where a runtime computes in doubles.
`Resize` with antialias, given uint8, is the faster for large photos and differs by one level in one value of 1,000; but
runtimes other than onnxruntime leave antialias out without a word. A value is rounded after each of the two directions,
so their order shows: it is that of the Pillow which is installed where the graph is made.
Sources: https://onnx.ai/onnx/operators/onnx__Resize.html (opset 18); Pillow's src/libImaging/Resample.c
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import PIL
from onnx_ir.tape import Tape

CURVES: dict[str, tuple[tuple[float, ...], ...]] = {  # coefficients of 1, t, t^2, t^3 for t in [0, 1), in [1, 2)
    "bicubic": ((1.0, 0.0, -2.5, 1.5), (2.0, -4.0, 2.5, -0.5)),
    "bilinear": ((1.0, -1.0),),
}
ONE = 2.0**22  # the weight of 1: Pillow's are whole numbers
GOES_DOWN_FIRST = 13  # the first Pillow that does where the height shrinks by more than twice what the width does


class Steps:
    """Nodes one after another, with names that no other node has; NumPy arrays become constants."""

    def __init__(self, prefix: str = "photo"):
        self.tape = Tape()
        self._prefix = prefix

    def op(self, kind: str, *inputs: ir.Value | np.ndarray | None, **attributes: Any) -> ir.Value:
        values = [self._constant(each) if isinstance(each, np.ndarray) else each for each in inputs]
        return self.tape.op(kind, values, attributes, output=ir.Value(name=f"{self._prefix}_{len(self.tape.nodes)}"))

    def _constant(self, value: np.ndarray) -> ir.Value:
        return self.tape.initializer(ir.tensor(value), name=f"{self._prefix}_constant_{len(self.tape.initializers)}")

    def either(self, condition: ir.Value, **branches: Callable[["Steps"], ir.Value]) -> ir.Value:
        """What one of two branches makes, `then_branch` where the condition holds or `else_branch`; only that runs."""
        graphs = {}
        for name, branch in branches.items():
            steps = Steps(f"{self._prefix}_{len(self.tape.nodes)}_{name}")
            made = branch(steps)
            tape = steps.tape
            graphs[name] = ir.Graph([], [made], nodes=tape.nodes, initializers=tape.initializers, name=name)
        return self.op("If", condition, **graphs)

    def sides(self, x: ir.Value) -> ir.Value:
        """Height and width as doubles. Shapes: (B, 3, H, W) -> (2,)."""
        return self.op("Cast", self.op("Shape", x, start=2), to=ir.DataType.DOUBLE)

    def whole(self, x: ir.Value) -> ir.Value:
        """Doubles without a fraction as the integers that nodes take for sizes."""
        return self.op("Cast", x, to=ir.DataType.INT64)

    def quotient(self, over: ir.Value, under: ir.Value, *, is_rounded: bool = False) -> ir.Value:
        """Whole numbers divided, rounded down or, halves to even, to the nearest; right where `Div` is not exact."""
        rest = self.op("Mod", over, under, fmod=1)
        down = self.op("Round", self.op("Div", self.op("Sub", over, rest), under))
        if not is_rounded:
            return down
        twice = self.op("Add", rest, rest)
        is_odd = self.op("Greater", self.op("Mod", down, np.array([2.0]), fmod=1), np.array([0.0]))
        is_half = self.op("And", self.op("Equal", twice, under), is_odd)
        is_more = self.op("Or", self.op("Greater", twice, under), is_half)
        return self.op("Add", down, self.op("Cast", is_more, to=ir.DataType.DOUBLE))


Resampling = Callable[[Steps, ir.Value, ir.Value, str], ir.Value]


def by_resize(steps: Steps, x: ir.Value, sides: ir.Value, filter: str) -> ir.Value:
    """Images with sides of that length, by `Resize`. Shapes: uint8 (B, 3, H, W), doubles (2,)."""
    whole = steps.whole(sides)
    kind = {"bicubic": {"mode": "cubic", "cubic_coeff_a": -0.5}, "bilinear": {"mode": "linear"}}[filter]
    same = {"antialias": 1, "exclude_outside": 1, "coordinate_transformation_mode": "half_pixel"}

    def resized(steps: Steps, x: ir.Value, *sizes: ir.Value) -> ir.Value:
        return steps.op("Resize", x, None, None, steps.op("Concat", *sizes, axis=0), **kind, **same)

    def across_first(steps: Steps) -> ir.Value:  # as the node itself does
        return resized(steps, x, steps.op("Shape", x, end=2), whole)

    def down_first(steps: Steps) -> ir.Value:
        height = steps.op("Gather", whole, np.array([0]))
        lower = resized(steps, x, steps.op("Shape", x, end=2), height, steps.op("Shape", x, start=3))
        return resized(steps, lower, steps.op("Shape", x, end=2), whole)

    return _in_order(steps, steps.sides(x), sides, down_first=down_first, across_first=across_first)


def by_matrices(steps: Steps, x: ir.Value, sides: ir.Value, filter: str) -> ir.Value:
    """The same by matrices of weights, rounded after each as Pillow does."""
    have = steps.sides(x)
    down, across = (_weights(steps, _entry(steps, have, n), _entry(steps, sides, n), filter) for n in (0, 1))
    across = steps.op("Transpose", across, perm=[1, 0])
    levels = steps.op("Cast", x, to=ir.DataType.DOUBLE)

    def across_first(steps: Steps) -> ir.Value:
        return _levels(steps, steps.op("MatMul", down, _levels(steps, steps.op("MatMul", levels, across))))

    def down_first(steps: Steps) -> ir.Value:
        return _levels(steps, steps.op("MatMul", _levels(steps, steps.op("MatMul", down, levels)), across))

    resized = _in_order(steps, have, sides, down_first=down_first, across_first=across_first)
    return steps.op("Cast", resized, to=ir.DataType.UINT8)


def _in_order(
    steps: Steps,
    have: ir.Value,
    want: ir.Value,
    *,
    down_first: Callable[[Steps], ir.Value],
    across_first: Callable[[Steps], ir.Value],
) -> ir.Value:
    """One of two ways, as the Pillow at hand goes from sides to others. Shapes: doubles (2,), (2,)."""
    if int(PIL.__version__.split(".")[0]) < GOES_DOWN_FIRST:
        return across_first(steps)
    less = steps.op("Sub", have, want)
    lower, narrower = _entry(steps, less, 0), _entry(steps, less, 1)
    twice = steps.op("Max", steps.op("Add", narrower, narrower), np.array(0.0))
    return steps.either(steps.op("Greater", lower, twice), then_branch=down_first, else_branch=across_first)


def _entry(steps: Steps, vector: ir.Value, number: int) -> ir.Value:
    """One number of a vector. Shapes: (2,) -> ()."""
    return steps.op("Gather", vector, np.array(number))


def _weights(steps: Steps, have: ir.Value, want: ir.Value, filter: str) -> ir.Value:
    """How much each of `have` values counts in each of `want`. Shapes: doubles () -> (want, have)."""
    one, half = np.array(1.0), np.array(0.5)
    scale = steps.op("Div", have, want)
    width = steps.op("Max", scale, one)
    centres = steps.op("Mul", steps.op("Add", _count(steps, want), half), scale)
    away = steps.op("Sub", steps.op("Add", _count(steps, have), half), steps.op("Unsqueeze", centres, np.array([1])))
    t = steps.op("Abs", steps.op("Div", away, width))
    weights = steps.op("Mul", t, np.array(0.0))
    for number, coefficients in reversed(list(enumerate(CURVES[filter]))):
        value = steps.op("Mul", t, np.array(0.0))
        for coefficient in reversed(coefficients):
            value = steps.op("Add", steps.op("Mul", value, t), np.array(coefficient))
        weights = steps.op("Where", steps.op("Less", t, np.array(number + 1.0)), value, weights)
    shares = steps.op("Div", weights, steps.op("ReduceSum", weights, np.array([1])))
    return steps.op("Round", steps.op("Mul", shares, np.array(ONE)))


def _count(steps: Steps, length: ir.Value) -> ir.Value:
    """0, 1, 2 and so on as doubles. Shapes: () -> (length,)."""
    return steps.op("Range", np.array(0.0), length, np.array(1.0))


def _levels(steps: Steps, x: ir.Value) -> ir.Value:
    """Sums of weighted values as whole numbers from 0 to 255, halves upwards."""
    rounded = steps.op("Floor", steps.op("Add", steps.op("Div", x, np.array(ONE)), np.array(0.5)))
    return steps.op("Clip", rounded, np.array(0.0), np.array(255.0))
