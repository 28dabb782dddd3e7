"""The classifier as a graph of torch.export, loaded and run before it is kept."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.ship.exporters.exporter import Agreement, Exporter, Wanted
from transferkit.zoo.files import write_bytes

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from transferkit.ship.models import Artifact, Ensemble


def write(model: "Artifact | Ensemble", out: Path, *, wanted: Wanted) -> Agreement:
    """Write a .pt2 archive with what is known of the model in transferkit.json.

    Raises: UsageError, ParityError, StorageError.
    """
    import torch

    from transferkit.ship.exporters import parity

    joined = parity.joined(model, format=EXPORTER.name)
    with parity.converting(joined):
        program = parity.graph_of(joined)
        again = torch.export.load(io.BytesIO(_archive(program)))  # never a foreign file: these may hold a pickle
        agreement = parity.proved(joined, wanted.sample, again.module())
        data = _archive(program, facts=json.dumps(joined.facts(agreement)))
    write_bytes(out, data)
    return agreement


def _archive(program: "ExportedProgram", *, facts: str = "") -> bytes:
    import torch

    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files={"transferkit.json": facts})
    return archive.getvalue()


EXPORTER = Exporter(
    name="torch-export",
    help="a graph of views for torch.export.load, .pt2",
    write=write,
    takes_ensembles=True,
)
