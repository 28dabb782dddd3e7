"""A model folder that `timm.create_model("local-dir:FOLDER", pretrained=True)` opens."""

from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.ship.exporters.exporter import Exporter
from transferkit.zoo.errors import UsageError

FAMILY = "timm"  # of the networks that plain timm builds

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.ship.models import Artifact


def write(model: "Artifact", out: Path, *, pixels: "Tensor") -> None:
    """Write the model folder. Raises: UsageError if the network is not timm's, StorageError."""
    from transferkit.ship import artifact

    if model.backbone.spec["family"] != FAMILY:
        raise UsageError(f"{model.name} is no timm network; the other formats take it")
    artifact.save(out, model)


EXPORTER = Exporter(name="timm", help="a folder that plain timm opens", write=write, is_folder=True)
