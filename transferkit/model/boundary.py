"""A network cut above what is frozen: the activations there are computed once, and training goes on from them."""

import errno
import math
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.model import eval_batch, timings
from transferkit.model.build import Backbone, ModelCard
from transferkit.model.timings import Conditions
from transferkit.runtime import arithmetic

MEMORY_BYTES = 2 << 30  # activations beyond it lie in a file
FILE_BYTES = 20 << 30  # and half the space left, at most


class Above(nn.Module):
    """The part of a network above the boundary, with the modes that the whole network would give its layers.

    Shapes: what the part below returns -> (B, K).
    """

    whole: Backbone

    def __init__(self, suffix: nn.Module, whole: Backbone):
        super().__init__()
        self.suffix = suffix
        self.__dict__["whole"] = whole  # no sub-module: the state is that of the part above

    def forward(self, values: Tensor | tuple[Tensor, ...]) -> Tensor:
        """The logits."""
        return self.suffix(values)

    @property
    def card(self) -> ModelCard:
        """That of the whole network."""
        return self.whole.card

    def train(self, mode: bool = True) -> "Above":
        """Set the modes as `Backbone.train` does: frozen layers and held statistics stay as they are."""
        super().train(mode)
        self.whole.train(mode)
        return self


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """The two parts of a network, and the shapes (...) of what the lower one hands to the upper one, for one image."""

    below: nn.Module
    above: Above
    shapes: tuple[tuple[int, ...], ...]

    def bytes_of(self, images: int, *, fitted: int, views: int) -> int:
        """What is handed over, in single precision, of images as they are, and of those to fit to in so many views."""
        return 4 * sum(math.prod(shape) for shape in self.shapes) * (images + views * fitted)

    @torch.no_grad()
    def handed(self, x: Tensor, precision: str) -> tuple[np.ndarray, ...]:
        """What the lower part makes of images; its bits do not depend on which others they come with.

        Shapes: (B, 3, H, W) -> (B, ...) float32 for each of `shapes`.
        """
        whole = eval_batch.filled(x, eval_batch.batch_of(self.above.whole))
        with arithmetic(x.device, precision):
            parts = eval_batch.halved(lambda rows: self.below(whole[rows]), len(whole), device=x.device)
        values = zip(*(part if isinstance(part, tuple) else (part,) for part in parts))
        return tuple(eval_batch.joined(list(each))[: len(x)].float().cpu().numpy() for each in values)


@torch.no_grad()
def find(model: Backbone) -> Boundary | None:
    """The network cut above the last of its frozen stages; None if nothing is frozen or it cannot be cut there."""
    frozen = [stage for stage in model.stages if stage in model.frozen]
    if not frozen:
        return None
    below, suffix = model.split(frozen[-1])
    if isinstance(below, nn.Identity) or any(p.requires_grad for p in below.parameters()):
        return None
    folded = [module.__dict__["folded_norm"] for module in below.modules() if "folded_norm" in module.__dict__]
    if any(parameter.requires_grad for norm in folded for parameter in norm.parameters()):
        return None
    parameter = next(model.parameters())
    example = torch.zeros(1, 3, *model.card.preprocessing.size_px, dtype=parameter.dtype, device=parameter.device)
    values = below.eval()(example)
    values = values if isinstance(values, tuple) else (values,)
    return Boundary(below=below, above=Above(suffix, model), shapes=tuple(tuple(value.shape[1:]) for value in values))


def saving(model: Backbone, boundary: Boundary, *, epochs: int, views: int, where: Conditions) -> float:
    """How many times as fast `epochs` are when the part below runs once for each of `views`, by times measured here."""

    @torch.no_grad()
    def run_below(x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return boundary.below(x)

    def run_above(values: Tensor | tuple[Tensor, ...]) -> None:
        boundary.above(values).float().logsumexp(1).sum().backward()

    def measure() -> dict[str, float]:
        x = timings.noise(model, device=where.device)
        boundary.above.eval()  # no statistics move
        with arithmetic(where.device, where.precision):
            values = run_below(x)
            both = [
                (
                    timings.computing(partial(run_below, x), device=where.device),
                    timings.computing(partial(run_above, values), device=where.device),
                )
                for _ in range(2)
            ]
        model.zero_grad(set_to_none=True)
        return dict(zip(("below", "above"), map(min, zip(*both))))

    what = {"phase": "boundary", "frozen": sorted(model.frozen), "precision": where.precision}
    found = timings.looked_up(model, what, measure, device=where.device, cache=where.cache)
    return epochs * (found["below"] + found["above"]) / (views * found["below"] + epochs * found["above"])


class Activations:
    """What the lower part hands over, for those of some rows and views of a data set that were put in so far.

    Up to `MEMORY_BYTES` in memory, else in files without a name in `folder`, which are gone with the process. Their
    blocks are taken at once: a disk that fills up later would end the process without a word.

    Args: images, how many there are, each of which may be asked for as it is (view 0); fitted, (N,), the rows of those
    that may be asked for in the `views` after that.
    Raises: OSError if there is no room, or `folder` cannot be written; IndexError of its methods for other rows.
    """

    def __init__(self, boundary: Boundary, images: int, fitted: np.ndarray, *, views: int, folder: Path):
        needed = boundary.bytes_of(images, fitted=len(fitted), views=views)
        in_memory = needed <= MEMORY_BYTES
        if not in_memory:
            folder.mkdir(parents=True, exist_ok=True)
            if needed > min(FILE_BYTES, shutil.disk_usage(folder).free // 2):
                raise OSError(errno.ENOSPC, f"{needed >> 20} MB of activations are too many to keep")
        self.views = views
        places = np.full(images, len(fitted))  # which is beyond the end
        places[fitted] = np.arange(len(fitted))
        self._places = [np.arange(images)] + [places] * views
        counts = [images] + [len(fitted)] * views
        self._values = [
            [_array((count, *shape), folder=None if in_memory else folder) for shape in boundary.shapes]
            for count in counts
        ]
        self._is_there = [np.zeros(count, bool) for count in counts]

    def missing(self, rows: np.ndarray, view: int) -> np.ndarray:
        """Those of `rows` that are not there, each once, in ascending order."""
        return np.unique(rows[~self._is_there[view][self._places[view][rows]]])

    def put(self, rows: np.ndarray, view: int, values: tuple[np.ndarray, ...]) -> None:
        """Keep `values`, (B, ...) each, for those rows."""
        places = self._places[view][rows]
        for held, value in zip(self._values[view], values):
            held[places] = value
        self._is_there[view][places] = True

    def get(self, rows: np.ndarray, view: int, *, device: str) -> Tensor | tuple[Tensor, ...]:
        """What the upper part takes for those rows."""
        places = self._places[view][rows]
        values = [torch.from_numpy(held[places]).to(device) for held in self._values[view]]
        return tuple(values) if len(values) > 1 else values[0]


def _array(shape: tuple[int, ...], *, folder: Path | None) -> np.ndarray:
    """A float32 array, in memory or in a file."""
    if folder is None:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile(dir=folder) as file:
        size = 4 * math.prod(shape)
        file.truncate(size)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, np.float32, mode="r+", shape=shape)
