"""A model written for other programs, by one of the exporters in `exporters/`, and the network that graphs are of."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from transferkit.model.ensemble import Pass, answer_of
from transferkit.ship import exporters
from transferkit.ship.exporters.exporter import ONE_BY_ONE
from transferkit.ship.models import Artifact, Ensemble
from transferkit.zoo.errors import UsageError


# Graphs record where this class stands, so its module is part of their bytes.
class FromPixels(nn.Module):
    """Networks that see the same pixels, with normalisation before them and the mean of their probabilities after.

    Where it is known which images are familiar, that is a second answer: below 0 of one unlike any trained on.

    Shapes: uint8 (B, 3, H, W) -> (B, K), or (B, K) and (B,).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, passes: Sequence[Pass], model: Artifact | Ensemble):
        super().__init__()
        self.networks = nn.ModuleList(each.network for each in passes)
        known = ([model.familiarities[member] for member in each.members] for each in passes)
        self.familiarities = nn.ModuleList(nn.ModuleList(one for one in each if one) for each in known)
        self.num_classes = len(model.classes)
        self.task = model.task
        preprocessing = passes[0].preprocessing
        self.register_buffer("mean", 255 * torch.tensor(preprocessing.mean)[:, None, None])
        self.register_buffer("std", 255 * torch.tensor(preprocessing.std)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = (pixels.float() - self.mean) / self.std
        answers, margins = [], []
        for network, known in zip(self.networks, self.familiarities):
            logits, features = answer_of(network, x)
            answers.append(logits)
            margins += [familiarity(features) for familiarity in known]
        logits = torch.cat(answers, dim=1)  # (B, M * K)
        probabilities = self.task.activated(logits.unflatten(1, (-1, self.num_classes))).mean(1)
        return (probabilities, torch.stack(margins).mean(0)) if margins else probabilities


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
