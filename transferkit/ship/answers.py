"""What networks answer for images that are decoded: probabilities, and whether the images are like those trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from transferkit import runtime
from transferkit.data import batches
from transferkit.kernels import single_precision
from transferkit.model.build import Preprocessing
from transferkit.model.ensemble import Pass, answer_of
from transferkit.model.eval_batch import halved, joined
from transferkit.ship.models import Artifact, Ensemble
from transferkit.zoo.errors import ModelFileError

Views = dict[Preprocessing, np.ndarray]  # (H, W, 3) uint8


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The probabilities (M, K) of the members for an image; whether it is like those trained on, None if not known."""

    probabilities: np.ndarray
    is_familiar: bool | None


@torch.no_grad()
def answers(model: Artifact | Ensemble, passes: Sequence[Pass], views: list[Views], *, device: str) -> list[Answer]:
    """The answers for B images; of several members that know what is familiar, the mean says it.

    Args: views, of each image what each preprocessing makes of it. Raises: ModelFileError.
    """
    inputs = {each: _input([view[each] for view in views], each, device=device) for each in views[0]}
    members = sum(len(each.members) for each in passes)
    found, margins = np.empty((len(views), members, len(model.classes))), []
    for each in passes:
        logits, features = _pass(each, inputs[each.preprocessing])
        of_members = logits.unflatten(1, (-1, len(model.classes)))  # (B, m, K)
        found[:, each.members] = model.task.activated(of_members).numpy()
        known = [model.familiarities[member] for member in each.members]
        margins += [familiarity(features).numpy() for familiarity in known if familiarity]
    if np.isnan(found).any():
        raise ModelFileError(f"{model.name} gives answers that are no numbers: its weights are too large")
    is_familiar = (np.mean(margins, axis=0) >= 0).tolist() if margins else [None] * len(views)
    return [Answer(probabilities=p, is_familiar=known) for p, known in zip(found, is_familiar)]


def _pass(each: Pass, x: Tensor) -> tuple[Tensor, Tensor]:
    """Shapes: (B, 3, H, W) -> (B, m * K) float64, (B, D) float32, both on the CPU."""
    with runtime.device_errors(), single_precision(x.device.type, exact=True):
        parts = halved(lambda rows: answer_of(each.network, x[rows]), len(x), device=x.device)
    logits, features = (joined(list(part)).cpu() for part in zip(*parts))
    return logits.double(), features.float()


def _input(pixels: list[np.ndarray], preprocessing: Preprocessing, *, device: str) -> Tensor:
    """Shapes: B of (H, W, 3) uint8 -> (B, 3, H, W)."""
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    return batches.normalise(stacked.to(device), preprocessing)
