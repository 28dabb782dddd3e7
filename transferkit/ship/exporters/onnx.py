"""The classifier as an ONNX graph that takes photos, run in onnxruntime before it is kept."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit import kinds
from transferkit.ship.exporters.exporter import Agreement, Exporter, Wanted
from transferkit.zoo.errors import UsageError
from transferkit.zoo.files import write_bytes

if TYPE_CHECKING:
    from onnx import ModelProto

    from transferkit.ship.exporters.parity import Joined, Run
    from transferkit.ship.models import Artifact, Ensemble


def write(model: "Artifact | Ensemble", out: Path, *, wanted: Wanted) -> Agreement:
    """Write the graph. Raises: UsageError if packages are missing or have no such filter, ParityError, StorageError."""
    from transferkit.ship.exporters import parity

    require("onnxruntime", format=EXPORTER.name)
    from transferkit.ship.exporters import photo_graph, quantisation

    joined = parity.joined(model, format=EXPORTER.name, of_photos=not wanted.core)
    if not wanted.core:
        photo_graph.require_filters(joined.network.preprocessings)
    with parity.converting(joined):
        graph = whole = core(joined)
        small = quantisation.quantised(graph, joined, wanted.int8, session=session) if wanted.int8 else None
        if small:
            graph = whole = small.graph
        if not wanted.core:
            whole = photo_graph.of_photos(graph, joined.network.preprocessings)
        run, photos = session(graph), None if wanted.core else session(whole)
        agreement = parity.proved(joined, wanted.sample, run, photos=photos, is_exact=small is None)
        if small:
            agreement = replace(agreement, accuracy=small.accuracy, accuracy_float=small.accuracy_float)
    for key, value in joined.facts(agreement, input=parity.VIEWS if wanted.core else parity.PHOTOS).items():
        whole.metadata_props.add(key=key, value=value)
    write_bytes(out, whole.SerializeToString())
    return agreement


def session(graph: "ModelProto") -> "Run":
    """How to run a graph in onnxruntime: its inputs, tensors or arrays, to its outputs."""
    import numpy as np
    import onnxruntime

    made = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [each.name for each in made.get_inputs()]
    return lambda *inputs: made.run(None, {name: np.asarray(x) for name, x in zip(names, inputs, strict=True)})


def require(*runtimes: str, format: str) -> None:
    """Raise UsageError where a package is missing that makes or runs the graphs."""
    for name in ("onnx", "onnxscript", *runtimes):
        try:
            importlib.import_module(name)
        except ImportError as error:
            extra = "openvino" if name == "openvino" else "export"
            raise UsageError(f"export to {format} needs {error.name}: pip install 'transferkit[{extra}]'") from error


def core(model: "Joined") -> "ModelProto":
    """The network as ONNX; its inputs are views."""
    import torch

    from transferkit.ship.exporters import parity

    exported = torch.onnx.export(
        parity.graph_of(model),
        input_names=model.inputs,
        output_names=model.outputs,
        dynamo=True,
        dynamic_shapes=model.any_batch,
        verbose=False,
    )
    return kinds.present(exported).model_proto  # as dynamo=True is given


EXPORTER = Exporter(
    name="onnx",
    help="a graph of photos, or with --core of views, for onnxruntime and others",
    write=write,
    takes_ensembles=True,
    options=frozenset({"core", "int8"}),
)
