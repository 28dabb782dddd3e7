"""A graph of 8-bit integers: calibrated on training photos, judged on those that the run was judged on.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quant_pre_process, quantize_static

from transferkit import scratch
from transferkit.ship.exporters import parity
from transferkit.ship.exporters.parity import Joined, Outputs, Run, Views
from transferkit.ship.exporters.sample import Labelled
from transferkit.zoo.errors import ParityError
from transferkit.zoo.files import storage_errors

MAX_LOSS = 0.01  # of accuracy
ONE_PHOTO = 1.5  # photos; one may always be lost
LAYERS = ["Conv", "MatMul"]  # not Gemm, the head: there it costs up to 20 points, and it is small
FIRST = (5, 15, 30)  # layers that stay as they are, more if less loses too much: few channels of very different ranges


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """A graph of 8-bit integers, and the accuracy with it and of the classifier, on the judged photos of the run."""

    graph: onnx.ModelProto
    accuracy: float
    accuracy_float: float


def quantised(
    graph: onnx.ModelProto, model: Joined, photos: Labelled, *, session: Callable[[onnx.ModelProto], Run]
) -> Quantised:
    """The graph with as many layers in 8 bits as leave its accuracy: all but the first few, the head, and what tells
    familiar images.

    Args: session, how to run a graph.
    Raises: ParityError if more than `MAX_LOSS` is lost with the most layers of `FIRST` in floats too.
    """
    training, judging = (parity.views_of(model, each) for each in (photos.train, photos.judged))
    before = after = _accuracy(parity.answers(model.network, judging), model, photos)
    with scratch.folder("export") as folder, storage_errors(folder):
        whole, prepared, small = (f"{folder}/{name}.onnx" for name in ("whole", "prepared", "int8"))
        onnx.save(graph, whole)
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        for first in FIRST:
            quantize_static(
                prepared,
                small,
                _Images(model.inputs, training),
                op_types_to_quantize=LAYERS,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=_left_alone(onnx.load(prepared).graph, first),
            )
            made = onnx.load(small)
            after = _accuracy(parity.answers(session(made), judging), model, photos)
            if before - after <= max(MAX_LOSS, ONE_PHOTO / len(photos.labels)):
                return Quantised(graph=made, accuracy=after, accuracy_float=before)
    raise ParityError(
        f"in 8-bit integers {after:.1%} of the {len(photos.labels)} judged photos are named right, {before:.1%} "
        f"before, with the first {FIRST[-1]} layers in floats too; nothing was written"
    )


def _accuracy(outputs: Outputs, model: Joined, photos: Labelled) -> float:
    return float(np.mean(model.task.right(model.task.logits(outputs[0]), photos.labels)))


class _Images(CalibrationDataReader):
    """The views of one photo after another."""

    def __init__(self, names: list[str], views: Views):
        self._batches = iter(
            [{name: view[n : n + 1].numpy() for name, view in zip(names, views)} for n in range(len(views[0]))]
        )

    def get_next(self) -> dict | None:
        return next(self._batches, None)


def _left_alone(graph: onnx.GraphProto, first: int) -> list[str]:
    """The names of the first layers, and of those that the probabilities do not depend on."""
    needed, layers, names = {graph.output[0].name}, [], []
    for node in reversed(graph.node):  # a graph lists its nodes in the order in which they run
        if needed.isdisjoint(node.output):
            names.append(node.name)
            continue
        needed.update(node.input)
        if node.op_type in LAYERS:
            layers.append(node.name)
    return [*names, *layers[::-1][:first]]
