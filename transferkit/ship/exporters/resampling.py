"""Pillow's resize as nodes of an ONNX graph, bit for bit where a runtime computes in doubles.

ONNX's own `Resize` rounds one value of 1,000 otherwise, and runtimes other than onnxruntime leave its antialias out
without a word. A value of the result depends on few neighbours, so each direction is 16 products with small matrices of
weights, one for each block of rows or columns, rather than one with a large matrix that is nearly all zeros. Values are
rounded after each direction, so their order shows: it is that of the Pillow which is installed where the graph is made.
Sources: https://onnx.ai/onnx/operators/onnx__Loop.html (opset 18); Pillow's src/libImaging/Resample.c
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import PIL
from onnx_ir.tape import Tape

CURVES: dict[str, tuple[tuple[float, ...], ...]] = {  # coefficients of 1, t, t^2, t^3 for t in [0, 1), in [1, 2)
    "bicubic": ((1.0, 0.0, -2.5, 1.5), (2.0, -4.0, 2.5, -0.5)),
    "bilinear": ((1.0, -1.0),),
}
BLOCKS = 16  # of rows or of columns
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

    def for_each(self, count: ir.Value, body: Callable[["Steps", ir.Value], ir.Value]) -> ir.Value:
        """What a body makes of the numbers from 0, along a new first axis. Shapes: integer (1,) -> (count, ...)."""
        steps = Steps(f"{self._prefix}_{len(self.tape.nodes)}_body")
        types = {"number": ir.DataType.INT64, "going": ir.DataType.BOOL}
        number, going = (
            ir.Value(name=f"{steps._prefix}_{name}", type=ir.TensorType(kind), shape=ir.Shape([]))
            for name, kind in types.items()
        )
        made = body(steps, number)
        outputs, tape = [steps.op("Identity", going), made], steps.tape
        graph = ir.Graph([number, going], outputs, nodes=tape.nodes, initializers=tape.initializers, name="body")
        return self.op("Loop", count, None, body=graph)

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


@dataclass(frozen=True, kw_only=True)
class Bands:
    """How one direction is resized, in `BLOCKS` blocks of n values, each made of a window of L values."""

    axis: int
    length: ir.Value  # of the result, a double; less than BLOCKS * n where n does not divide it
    starts: ir.Value  # of the windows, doubles (BLOCKS,)
    weights: ir.Value  # doubles (BLOCKS, n, L)


def resized(steps: Steps, x: ir.Value, sides: ir.Value, filter: str) -> ir.Value:
    """Images with sides of that length. Shapes: uint8 (B, 3, H, W), doubles (2,) -> uint8 (B, 3, h, w)."""
    have = steps.sides(x)
    rows, columns = (
        _bands(steps, _entry(steps, have, n), _entry(steps, sides, n), axis=n + 2, filter=filter) for n in (0, 1)
    )

    def across_first(steps: Steps) -> ir.Value:
        return _applied(steps, rows, _applied(steps, columns, x))

    def down_first(steps: Steps) -> ir.Value:
        return _applied(steps, columns, _applied(steps, rows, x))

    return _in_order(steps, have, sides, down_first=down_first, across_first=across_first)


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


def _bands(steps: Steps, have: ir.Value, want: ir.Value, *, axis: int, filter: str) -> Bands:
    """How `want` values of an axis are made of `have`. Shapes: doubles (), ()."""
    half, zero, one = np.array(0.5), np.array(0.0), np.array(1.0)
    scale = steps.op("Div", have, want)
    width = steps.op("Max", scale, one)  # of the filter's unit
    reach = steps.op("Mul", width, np.array(float(len(CURVES[filter]))))
    each = steps.op("Ceil", steps.op("Div", want, np.array(float(BLOCKS))))
    firsts = steps.op("Mul", np.arange(float(BLOCKS))[:, None], each)
    # numbers past the last are cut off later; here they repeat it, for their own weights would be 0 / 0
    numbers = steps.op("Min", steps.op("Add", firsts, _count(steps, each)), steps.op("Sub", want, one))
    centres = steps.op("Mul", steps.op("Add", numbers, half), scale)  # (BLOCKS, n)
    span = steps.op("Add", steps.op("Mul", each, scale), steps.op("Add", steps.op("Add", reach, reach), one))
    length = steps.op("Min", steps.op("Ceil", span), have)
    lowest = steps.op("Floor", steps.op("Sub", steps.op("Gather", centres, np.array(0), axis=1), reach))
    starts = steps.op("Max", steps.op("Min", lowest, steps.op("Sub", have, length)), zero)
    places = steps.op("Add", steps.op("Unsqueeze", starts, np.array([1])), _count(steps, length))  # (BLOCKS, L)
    middles = steps.op("Unsqueeze", steps.op("Add", places, half), np.array([1]))
    away = steps.op("Sub", middles, steps.op("Unsqueeze", centres, np.array([2])))
    heights = _curve(steps, steps.op("Abs", steps.op("Div", away, width)), filter)
    shares = steps.op("Div", heights, steps.op("ReduceSum", heights, np.array([2])))
    weights = steps.op("Round", steps.op("Mul", shares, np.array(ONE)))
    return Bands(axis=axis, length=want, starts=starts, weights=weights)


def _curve(steps: Steps, t: ir.Value, filter: str) -> ir.Value:
    """The filter's value at a distance, before its values are made to add up to 1. Shapes: doubles, any."""
    values = steps.op("Mul", t, np.array(0.0))
    for number, coefficients in reversed(list(enumerate(CURVES[filter]))):
        value = steps.op("Mul", t, np.array(0.0))
        for coefficient in reversed(coefficients):
            value = steps.op("Add", steps.op("Mul", value, t), np.array(coefficient))
        values = steps.op("Where", steps.op("Less", t, np.array(number + 1.0)), value, values)
    return values


def _applied(steps: Steps, bands: Bands, x: ir.Value) -> ir.Value:
    """Images resized in one direction. Shapes: uint8 (B, 3, H, W) -> uint8 (B, 3, h, W) or (B, 3, H, w)."""
    axis, is_down = bands.axis, bands.axis == 2
    weights = bands.weights if is_down else steps.op("Transpose", bands.weights, perm=[0, 2, 1])

    def block(steps: Steps, number: ir.Value) -> ir.Value:
        start = steps.whole(steps.op("Gather", bands.starts, steps.op("Unsqueeze", number, np.array([0]))))
        matrix = steps.op("Gather", weights, number)
        length = steps.op("Shape", matrix, start=1, end=2) if is_down else steps.op("Shape", matrix, end=1)
        window = steps.op("Slice", x, start, steps.op("Add", start, length), np.array([axis]))
        levels = steps.op("Cast", window, to=ir.DataType.DOUBLE)
        return _levels(steps, steps.op("MatMul", *((matrix, levels) if is_down else (levels, matrix))))

    blocks = steps.for_each(steps.op("Shape", bands.starts), block)  # (BLOCKS, B, 3, ., .)
    order = [1, 2, 3, 4]
    order.insert(axis, 0)
    before, after = steps.op("Shape", x, end=axis), steps.op("Shape", x, start=axis + 1)
    shape = steps.op("Concat", before, np.array([-1]), after, axis=0)
    joined = steps.op("Reshape", steps.op("Transpose", blocks, perm=order), shape)
    length = steps.op("Unsqueeze", steps.whole(bands.length), np.array([0]))
    return steps.op("Slice", joined, np.array([0]), length, np.array([axis]))


def _count(steps: Steps, length: ir.Value) -> ir.Value:
    """0, 1, 2 and so on as doubles. Shapes: () -> (length,)."""
    return steps.op("Range", np.array(0.0), length, np.array(1.0))


def _levels(steps: Steps, x: ir.Value) -> ir.Value:
    """Sums of weighted values as whole numbers from 0 to 255, halves upwards. Shapes: doubles -> uint8, any."""
    rounded = steps.op("Floor", steps.op("Add", steps.op("Div", x, np.array(ONE)), np.array(0.5)))
    return steps.op("Cast", steps.op("Clip", rounded, np.array(0.0), np.array(255.0)), to=ir.DataType.UINT8)
