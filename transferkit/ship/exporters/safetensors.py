"""The weights alone, as one file."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.ship.exporters.exporter import Exporter

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.ship.artifact import Artifact


def write(model: "Artifact", out: Path, *, pixels: "Tensor") -> None:
    """Write the weights, with all that they mean in the file's metadata. Raises: UsageError, StorageError."""
    from transferkit.ship import description
    from transferkit.zoo.files import write_safetensors

    content = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    own = description.describe(**content)["transferkit"]
    write_safetensors(out, model.backbone.model.state_dict(), {"format": "pt", "transferkit": json.dumps(own)})


EXPORTER = Exporter(name="safetensors", help="the weights, and what they mean as metadata", write=write)
