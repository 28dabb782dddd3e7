"""The weights alone, as one file."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.ship.exporters.exporter import Exporter

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.ship.models import Artifact


def write(model: "Artifact", out: Path, *, pixels: "Tensor") -> None:
    """Write the weights, with all that they mean in the file's metadata. Raises: UsageError, StorageError."""
    from transferkit.ship import description
    from transferkit.zoo.files import write_safetensors

    own = description.describe(model)["transferkit"]
    own.pop("familiarity", None)  # its features are in a file of their own
    write_safetensors(out, model.backbone.model.state_dict(), {"format": "pt", "transferkit": json.dumps(own)})


EXPORTER = Exporter(name="safetensors", help="the weights, and what they mean as metadata", write=write)
