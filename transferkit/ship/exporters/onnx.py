"""The classifier as an ONNX graph, run in onnxruntime before it is kept."""

from pathlib import Path
from typing import TYPE_CHECKING

from transferkit import kinds
from transferkit.ship.exporters.exporter import Exporter
from transferkit.zoo.errors import UsageError
from transferkit.zoo.files import write_bytes

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

    from transferkit.ship.exporters.parity import Joined, Run
    from transferkit.ship.models import Artifact, Ensemble


def write(model: "Artifact | Ensemble", out: Path, *, pixels: "Tensor") -> None:
    """Write the graph. Raises: UsageError if packages are missing, ParityError, StorageError."""
    from transferkit.ship.exporters import parity

    _require()
    joined = parity.joined(model, format=EXPORTER.name)
    write_bytes(out, parity.proved(joined, _converted, pixels=pixels))


def _require() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(f"export to onnx needs {error.name}: pip install 'transferkit[export]'") from error


def _converted(program: "ExportedProgram", model: "Joined") -> "tuple[bytes, Run]":
    """The graph as ONNX, with the facts of the model as its metadata, and how to run these bytes in onnxruntime."""
    import onnxruntime
    import torch

    from transferkit.ship.exporters.parity import ANY_BATCH

    exported = torch.onnx.export(
        program,
        input_names=["pixels"],
        output_names=model.outputs,
        dynamo=True,
        dynamic_shapes=ANY_BATCH,
        verbose=False,
    )
    exported = kinds.present(exported)  # as dynamo=True is given
    exported.model.metadata_props.update(model.facts())
    data = exported.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, lambda x: session.run(None, {"pixels": x.numpy()})


EXPORTER = Exporter(
    name="onnx",
    help="a graph for onnxruntime and others",
    write=write,
    is_compared=True,
    takes_ensembles=True,
)
