"""A model written for other programs, by one of the exporters in `exporters/`, and the network that graphs are of."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from transferkit.model.build import Preprocessing
from transferkit.ship import exporters
from transferkit.ship.exporters.exporter import ONE_BY_ONE
from transferkit.ship.models import Artifact, Ensemble
from transferkit.tasks import Task
from transferkit.zoo.errors import UsageError


# Graphs record where this class stands, so its module is part of their bytes.
class FromPixels(nn.Module):
    """Networks that see the same pixels, with normalisation before them and the mean of their probabilities after.

    Shapes: uint8 (B, 3, H, W) -> (B, K).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, networks: Sequence[nn.Module], preprocessing: Preprocessing, *, num_classes: int, task: Task):
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.num_classes = num_classes
        self.task = task
        self.register_buffer("mean", 255 * torch.tensor(preprocessing.mean)[:, None, None])
        self.register_buffer("std", 255 * torch.tensor(preprocessing.std)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        x = (pixels.float() - self.mean) / self.std
        logits = torch.cat([network(x) for network in self.networks], dim=1)  # (B, M * K)
        return self.task.activated(logits.unflatten(1, (-1, self.num_classes))).mean(1)


def export(model: Artifact | Ensemble, *, format: str, out: str | Path, pixels: Tensor) -> Path:
    """Write the model to `out` in another format and return its path.

    Args: format is the name of an exporter; pixels, uint8 (N, 3, H, W), are real images on which graphs are compared.
    Raises: ParityError, and nothing is written, if an image is named otherwise or a probability differs by over 1e-4;
    UsageError for an unknown format, one that cannot hold the model, or missing packages; StorageError.
    """
    out = Path(out)
    exporter = exporters.find(format)
    if out.is_dir() or (exporter.is_folder and out.exists()):
        raise UsageError(f"{out} exists already; name a {'folder' if exporter.is_folder else 'file'} that does not")
    if isinstance(model, Ensemble) and not exporter.takes_ensembles:
        raise UsageError(f"{format} holds one network and this is an ensemble of {len(model.members)}; {ONE_BY_ONE}")
    exporter.write(model, out, pixels=pixels)
    return out
