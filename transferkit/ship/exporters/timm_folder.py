"""A model folder that `timm.create_model("local-dir:FOLDER", pretrained=True)` opens."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit import scratch
from transferkit.ship.exporters.exporter import COMPARED, ONE_BY_ONE, Agreement, Exporter, Wanted
from transferkit.zoo.errors import UsageError

FAMILY = "timm"  # of the networks that plain timm builds

if TYPE_CHECKING:
    from transferkit.ship.models import Artifact


def write(model: "Artifact", out: Path, *, wanted: Wanted) -> Agreement:
    """Write the model folder. Raises: UsageError if the network is not timm's, ParityError, StorageError."""
    import timm

    from transferkit.model.build import bodies_of
    from transferkit.ship import artifact
    from transferkit.ship.exporters import parity

    if model.backbone.spec["family"] != FAMILY:
        instead = f", or {ONE_BY_ONE}" if bodies_of(model.backbone) else ""
        raise UsageError(f"{model.name} is no timm network; the other formats take it{instead}")
    with scratch.folder("export") as folder:
        artifact.save(folder / "model", model)
        opened = timm.create_model(f"local-dir:{folder}/model", pretrained=True).eval()
    agreement = parity.of_network(model, opened, wanted.sample, format=EXPORTER.name)
    record = model.record | {COMPARED: agreement.as_json()}
    artifact.save(out, dataclasses.replace(model, record=record))
    return agreement


EXPORTER = Exporter(name="timm", help="a folder that plain timm opens", write=write, is_folder=True)
