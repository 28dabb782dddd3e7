"""A graph of 8-bit integers: calibrated on training photos, judged on those that the run was judged on.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

import dataclasses

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quant_pre_process, quantize_static

from transferkit import scratch
from transferkit.ship.exporters import parity
from transferkit.ship.exporters.exporter import Agreement
from transferkit.ship.exporters.parity import Joined, Outputs, Run, Views
from transferkit.ship.exporters.sample import Labelled
from transferkit.zoo.errors import ParityError
from transferkit.zoo.files import storage_errors

MAX_LOSS = 0.01  # of accuracy
ONE_PHOTO = 1.5  # photos; one may always be lost
LAYERS = ["Conv", "MatMul"]  # not Gemm, the head: there it costs up to 20 points, and it is small
FIRST = 5  # layers that stay as they are: few channels of very different ranges, and up to 15 points


def quantised(graph: onnx.ModelProto, model: Joined, photos: Labelled) -> onnx.ModelProto:
    """The graph with most of its layers in 8 bits.

    The first layers, the head and what tells familiar images stay in floats.
    """
    views = parity.views_of(model, photos.train)
    with scratch.folder("export") as folder, storage_errors(folder):
        whole, prepared, small = (f"{folder}/{name}.onnx" for name in ("whole", "prepared", "int8"))
        onnx.save(graph, whole)
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            small,
            _Images(model.inputs, views),
            op_types_to_quantize=LAYERS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_left_alone(onnx.load(prepared).graph),
        )
        return onnx.load(small)


def judged(agreement: Agreement, run: Run, model: Joined, photos: Labelled) -> Agreement:
    """The agreement with the accuracy before and after. Raises: ParityError if more than `MAX_LOSS` is lost."""
    views = parity.views_of(model, photos.judged)
    before, after = (_accuracy(parity.answers(each, views), model, photos) for each in (model.network, run))
    if before - after > max(MAX_LOSS, ONE_PHOTO / len(photos.labels)):
        raise ParityError(
            f"in 8-bit integers {after:.1%} of the {len(photos.labels)} judged photos are named right, "
            f"{before:.1%} before; nothing was written"
        )
    return dataclasses.replace(agreement, accuracy=after, accuracy_float=before)


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


def _left_alone(graph: onnx.GraphProto) -> list[str]:
    """The names of the first layers, and of those that the probabilities do not depend on."""
    needed, layers, names = {graph.output[0].name}, [], []
    for node in reversed(graph.node):  # a graph lists its nodes in the order in which they run
        if needed.isdisjoint(node.output):
            names.append(node.name)
            continue
        needed.update(node.input)
        if node.op_type in LAYERS:
            layers.append(node.name)
    return [*names, *layers[::-1][:FIRST]]
