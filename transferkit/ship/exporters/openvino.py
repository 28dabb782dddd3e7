"""The classifier as a model of OpenVINO that takes photos, run in OpenVINO before it is kept."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.ship.exporters.exporter import Agreement, Exporter, Wanted
from transferkit.ship.exporters.onnx import core, require
from transferkit.zoo.files import new_folder

# By default OpenVINO computes in bfloat16 where the processor can, and so names up to one photo in seven otherwise.
PRECISE = {"INFERENCE_PRECISION_HINT": "f32"}
COMPILED = "compiled with INFERENCE_PRECISION_HINT f32, without which OpenVINO may round to 8 bits"

if TYPE_CHECKING:
    from transferkit.ship.exporters.parity import Run
    from transferkit.ship.models import Artifact, Ensemble


def write(model: "Artifact | Ensemble", out: Path, *, wanted: Wanted) -> Agreement:
    """Write a folder with model.xml and model.bin. Raises: UsageError, ParityError, StorageError."""
    from transferkit.ship.exporters import parity

    require("openvino", format=EXPORTER.name)
    import openvino

    from transferkit.ship.exporters import photo_graph

    joined = parity.joined(model, format=EXPORTER.name, of_photos=not wanted.core)
    if not wanted.core:
        photo_graph.require_filters(joined.network.preprocessings)
    with parity.converting(joined):
        graph = core(joined)
        whole = graph if wanted.core else photo_graph.of_photos(graph, joined.network.preprocessings)
        made = openvino.Core().read_model(whole.SerializeToString())
        photos = None if wanted.core else _run(made, PRECISE)
        run = _run(openvino.Core().read_model(graph.SerializeToString()), PRECISE)
        agreement = parity.proved(joined, wanted.sample, run, photos=photos)
    facts = joined.facts(agreement, input=parity.VIEWS if wanted.core else parity.PHOTOS)
    for key, value in (facts | {"compile_with": json.dumps(PRECISE)}).items():
        made.set_rt_info(value, ["transferkit", key])
    with new_folder(out) as scratch:
        openvino.save_model(made, scratch / "model.xml", compress_to_fp16=False)
    return dataclasses.replace(agreement, compared=f"{agreement.compared}, {COMPILED}")


def _run(model, options: dict[str, str]) -> "Run":
    """How to run a model on the CPU: its inputs to its outputs."""
    import numpy as np
    import openvino

    compiled = openvino.compile_model(model, "CPU", options)
    return lambda *inputs: list(compiled([np.asarray(x) for x in inputs]).values())


EXPORTER = Exporter(
    name="openvino",
    help="a folder that OpenVINO opens, a graph of photos",
    write=write,
    is_folder=True,
    takes_ensembles=True,
    options=frozenset({"core"}),
)
