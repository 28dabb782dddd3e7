"""Resize and crop as nodes of an ONNX graph, which then takes photos of any size as `decode.eval_view` does.

Sizes are computed as Python computes them, in doubles, or in the floats that a runtime makes of them.
"""

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir

from transferkit.data.decode import MAX_ASPECT
from transferkit.data.photos import source_side
from transferkit.model.build import Preprocessing
from transferkit.ship.exporters.resampling import CURVES, Steps, resized
from transferkit.zoo.errors import UsageError

SIDES = np.array([2, 3])  # the axes of (B, 3, H, W) that are cropped


def require_filters(preprocessings: Sequence[Preprocessing]) -> None:
    """Raise UsageError where ONNX has no filter that one of them resizes by."""
    for each in preprocessings:
        if each.interpolation not in CURVES:
            raise UsageError(f"ONNX has no {each.interpolation} filter; --core writes the graph without resize")


def of_photos(model: onnx.ModelProto, preprocessings: Sequence[Preprocessing]) -> onnx.ModelProto:
    """The graph with one input, photos, in place of its own, the views that the preprocessings make of them.

    Shapes: an input was uint8 (B, 3, h, w); the one that is left, "photos", is uint8 (B, H, W, 3) of any H and W.
    """
    whole = ir.from_proto(model)
    graph = whole.graph
    views = list(graph.inputs)
    shape = ir.Shape(["batch", "height", "width", 3])
    photos = ir.Value(name="photos", type=ir.TensorType(ir.DataType.UINT8), shape=shape)
    steps = Steps()
    planes = steps.op("Transpose", photos, perm=[0, 3, 1, 2])
    for view, preprocessing in zip(views, preprocessings, strict=True):
        view.replace_all_uses_with(_view(steps, planes, preprocessing))
    graph.inputs[:] = [photos]
    for value in steps.tape.initializers:
        graph.register_initializer(value)
    graph.insert_before(graph[0], steps.tape.nodes)
    return ir.to_proto(whole)


def _view(steps: Steps, planes: ir.Value, preprocessing: Preprocessing) -> ir.Value:
    """What the network sees of photos. Shapes: uint8 (B, 3, H, W) -> (B, 3, h, w)."""
    x = _shrunk(steps, planes, source_side(preprocessing))
    if preprocessing.crop_mode == "center":
        x = _trimmed(steps, x)
    x = resized(steps, x, _target(steps, x, preprocessing), preprocessing.interpolation)
    return _cropped(steps, x, preprocessing)


def _shrunk(steps: Steps, x: ir.Value, side: int) -> ir.Value:
    """Photos at least twice as large as need be with their shorter side `side` long, others as they are."""
    sides = steps.sides(x)
    shorter = steps.op("ReduceMin", sides)  # (1,)
    is_large = steps.op("GreaterOrEqual", shorter, np.array([2.0 * side]))
    kept = steps.op("Where", is_large, np.array([float(side)]), shorter)
    target = steps.quotient(steps.op("Mul", sides, kept), shorter, is_rounded=True)
    return resized(steps, x, target, "bicubic")


def _trimmed(steps: Steps, x: ir.Value) -> ir.Value:
    """Photos without the ends of what is longer than `MAX_ASPECT` times the shorter side."""
    sides = steps.sides(x)
    longest = steps.op("Mul", steps.op("ReduceMin", sides), np.array([float(MAX_ASPECT)]))
    kept = steps.op("Min", sides, longest)
    start = steps.op("Floor", steps.op("Div", steps.op("Sub", sides, kept), np.array([2.0])))
    return _sliced(steps, x, start, kept)


def _target(steps: Steps, x: ir.Value, preprocessing: Preprocessing) -> ir.Value:
    """The height and the width before the crop, doubles (2,); rounded as `decode._resized_size` rounds."""
    target = np.floor(np.array(preprocessing.size_px) / preprocessing.crop_pct)
    if preprocessing.crop_mode == "squash":
        return steps.op("Identity", target)
    sides = steps.sides(x)
    if preprocessing.crop_mode == "center" and target[0] == target[1]:
        shorter = steps.op("ReduceMin", sides)
        return steps.quotient(steps.op("Mul", sides, target), shorter)
    ratios = steps.op("Div", sides, target)
    ratio = steps.op("ReduceMax" if preprocessing.crop_mode == "border" else "ReduceMin", ratios)
    return steps.op("Max", steps.op("Round", steps.op("Div", sides, ratio)), np.array([1.0]))


def _sliced(steps: Steps, x: ir.Value, start: ir.Value, length: ir.Value) -> ir.Value:
    return steps.op("Slice", x, steps.whole(start), steps.whole(steps.op("Add", start, length)), SIDES)


def _cropped(steps: Steps, x: ir.Value, preprocessing: Preprocessing) -> ir.Value:
    """The middle of images, padded with the mean colour where they are smaller. Shapes: uint8 (B, 3, h, w)."""
    want = np.array(preprocessing.size_px, dtype=float)
    spare = steps.op("Sub", steps.sides(x), want)
    half = steps.op("Div", spare, np.array([2.0]))
    if preprocessing.crop_mode != "border":
        return _sliced(steps, x, steps.op("Round", half), steps.op("Identity", want))
    # `decode._offset`: half to even of what is cut off, the smaller half of what is missing goes before
    is_enough = steps.op("GreaterOrEqual", spare, np.zeros(2))
    start = steps.op("Where", is_enough, steps.op("Round", half), steps.op("Ceil", half))
    zeros = np.zeros(2)
    before = steps.op("Max", steps.op("Neg", start), zeros)
    after = steps.op("Max", steps.op("Sub", steps.op("Neg", spare), before), zeros)
    pads = steps.whole(steps.op("Concat", before, after, axis=0))
    fill = np.array([round(255 * value) for value in preprocessing.mean], np.float32)[:, None, None]
    above = steps.op("Sub", steps.op("Cast", x, to=ir.DataType.FLOAT), fill)
    filled = steps.op("Add", steps.op("Pad", above, pads, None, SIDES), fill)
    pixels = steps.op("Cast", filled, to=ir.DataType.UINT8)
    return _sliced(steps, pixels, steps.op("Max", start, zeros), steps.op("Identity", want))
