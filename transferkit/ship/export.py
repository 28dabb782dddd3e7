"""A model written for other programs, by one of the exporters in `exporters/`, and the network that graphs are of."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from transferkit.model.build import Backbone
from transferkit.model.ensemble import Pass, answer_of
from transferkit.model.mirror import MirrorAveraged
from transferkit.ship import exporters
from transferkit.ship.exporters.exporter import ONE_BY_ONE, Agreement, Wanted
from transferkit.ship.models import Artifact, Ensemble
from transferkit.zoo.errors import UsageError


# Graphs record where this class stands, so its module is part of their bytes.
class FromPixels(nn.Module):
    """The networks of a model, with normalisation before them and the mean of their probabilities after.

    Where it is known which images are familiar, that is a second answer: below 0 of one unlike any trained on.

    Shapes: a view for each of `preprocessings`, uint8 (B, 3, h, w) -> (B, K), or (B, K) and (B,).
    """

    def __init__(self, passes: Sequence[Pass], model: Artifact | Ensemble):
        super().__init__()
        self.networks = nn.ModuleList(each.network for each in passes)
        known = ([model.familiarities[member] for member in each.members] for each in passes)
        self.familiarities = nn.ModuleList(nn.ModuleList(one for one in each if one) for each in known)
        self.num_classes = len(model.classes)
        self.task = model.task
        self.preprocessings = list(dict.fromkeys(each.preprocessing for each in passes))
        self.seen = [self.preprocessings.index(each.preprocessing) for each in passes]  # the view of each network
        self.register_buffer("mean", 255 * _channels(each.mean for each in self.preprocessings))
        self.register_buffer("std", 255 * _channels(each.std for each in self.preprocessings))

    mean: Tensor
    std: Tensor

    def forward(self, *views: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = [(view.float() - mean) / std for view, mean, std in zip(views, self.mean, self.std)]
        answers, margins = [], []
        for network, known, number in zip(self.networks, self.familiarities, self.seen):
            logits, features = answer_of(cast("Backbone | MirrorAveraged", network), x[number])
            answers.append(logits)
            margins += [familiarity(features) for familiarity in known.children()]
        logits = torch.cat(answers, dim=1)  # (B, M * K)
        probabilities = self.task.activated(logits.unflatten(1, (-1, self.num_classes))).mean(1)
        return (probabilities, torch.stack(margins).mean(0)) if margins else probabilities


def _channels(values) -> Tensor:
    """A row of three numbers each. Shapes: (V, 3, 1, 1)."""
    return torch.tensor(list(values))[:, :, None, None]


def export(model: Artifact | Ensemble, *, format: str, out: str | Path, wanted: Wanted) -> Agreement:
    """Write the model to `out` in another format; what is kept gave the model's answers on the photos of `wanted`.

    Args: format, the name of an exporter.
    Raises: ParityError, and nothing is written, if the answers differ by more than the format allows; UsageError for
    an unknown format, one that cannot hold the model or has no such option, or missing packages; StorageError.
    """
    out = Path(out)
    exporter = exporters.find(format)
    if out.is_dir() or (exporter.is_folder and out.exists()):
        raise UsageError(f"{out} exists already; name a {'folder' if exporter.is_folder else 'file'} that does not")
    if isinstance(model, Ensemble) and not exporter.takes_ensembles:
        raise UsageError(f"{format} holds one network and this is an ensemble of {len(model.members)}; {ONE_BY_ONE}")
    for option in wanted.options:
        if option not in exporter.options:
            takers = [each.name for each in exporters.EXPORTERS if option in each.options]
            raise UsageError(f"--{option} is for {', '.join(takers)}, not for {format}")
    return exporter.write(model, out, wanted=wanted)
