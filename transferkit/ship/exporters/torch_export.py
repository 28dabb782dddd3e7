"""The classifier as a graph of torch.export, loaded and run before it is kept."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.ship.exporters.exporter import Exporter
from transferkit.zoo.files import write_bytes

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

    from transferkit.ship.exporters.parity import Joined, Run
    from transferkit.ship.models import Artifact, Ensemble


def write(model: "Artifact | Ensemble", out: Path, *, pixels: "Tensor") -> None:
    """Write the graph. Raises: UsageError, ParityError, StorageError."""
    from transferkit.ship.exporters import parity

    write_bytes(out, parity.proved(parity.joined(model, format=EXPORTER.name), _converted, pixels=pixels))


def _converted(program: "ExportedProgram", model: "Joined") -> "tuple[bytes, Run]":
    """The graph as a .pt2 archive, with what is known of the model in transferkit.json, and how to run these bytes."""
    import torch

    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files={"transferkit.json": json.dumps(model.facts())})
    data = archive.getvalue()
    module = torch.export.load(io.BytesIO(data)).module()  # never a foreign file: these may hold a pickle
    return data, module


EXPORTER = Exporter(
    name="torch-export",
    help="a graph for torch.export.load, .pt2",
    write=write,
    is_compared=True,
    takes_ensembles=True,
)
