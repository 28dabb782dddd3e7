"""Where in an image a network sees a class: Grad-CAM on its last features that have places.

Source: Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391; of a linear layer on an average over the image it is
that layer's weights, Zhou et al. 2016, https://arxiv.org/abs/1512.04150
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from transferkit import kinds
from transferkit.model.build import Backbone

MOST_PLACES = 32  # a side of a map: finer than what a picture of 160 pixels shows
MOST_PREFIX = 8  # tokens before those of an image: one for the class, registers
SIDE_BY_SIDE = "bodies"  # what a network of several calls them


def heat_maps(backbone: Backbone, x: Tensor, classes: Sequence[int]) -> np.ndarray | None:
    """How much each place of each image speaks for a class, from 0 to 1, the largest of an image being 1.

    Each final layer has a map, and their sum is returned: those of networks side by side, and of several stages. A
    transformer that looks at the image through a token has that of the tokens before its last attention. None where a
    network has no features with places, or none from which its answer follows.

    Args: backbone, in evaluation mode; classes, one an image, by number.
    Shapes: (B, 3, H, W), (B,) -> (B, h, w).
    """
    seen = _Seen(backbone, size=(int(x.shape[-2]), int(x.shape[-1])))
    with torch.enable_grad(), seen.watched():
        logits = backbone(x.detach().requires_grad_() * 1)  # so that a first layer may change its input in place
        chosen = logits[torch.arange(len(x)), list(classes)]  # (B,)
    found, is_exact = seen.maps(chosen.sum())
    if not found:
        return None
    side = [min(max(each.shape[axis] for each in found), MOST_PLACES) for axis in (-2, -1)]
    scaled = [
        nn.functional.interpolate(each[:, None], side, mode="bilinear", align_corners=False, antialias=True)[:, 0]
        for each in found
    ]
    total = torch.stack(scaled).sum(0)
    if is_exact:  # each place has its share of what is the same everywhere, the bias
        total = total + (chosen.detach() - total.mean((1, 2)))[:, None, None]
    return _from_0_to_1(total).float().cpu().numpy() if bool(total.isfinite().all()) else None


def _from_0_to_1(total: Tensor) -> Tensor:
    """What speaks for a class as a share of the most; where nothing does, what speaks against it least."""
    highest, lowest = total.amax((1, 2), keepdim=True), total.amin((1, 2), keepdim=True)
    total = torch.where(highest > 0, total.clamp(min=0), total - lowest)
    return total / total.amax((1, 2), keepdim=True).clamp(min=torch.finfo(total.dtype).tiny)


class _Seen:
    """What the modules of a network gave for a batch of images, in the order in which they were done.

    Args: size, height and width of the images in pixels.
    """

    def __init__(self, backbone: Backbone, *, size: tuple[int, int]):
        self._backbone = backbone
        self._size = size
        self._given: list[tuple[str, Tensor]] = []
        self._inputs: dict[str, Tensor] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """The block in which the network is called."""
        hooks = []
        for name, module in self._backbone.model.named_modules():
            if name in self._backbone.heads:
                hooks.append(module.register_forward_pre_hook(self._keep_input(name)))
            elif name:
                hooks.append(module.register_forward_hook(self._keep_output(name)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _keep_input(self, name: str):
        def keep(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            self._inputs[name] = arguments[0]

        return keep

    def _keep_output(self, name: str):
        def keep(module: nn.Module, arguments: tuple, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim in (3, 4) and output.requires_grad:
                self._given.append((name, output))

        return keep

    def maps(self, speaks: Tensor) -> tuple[list[Tensor], bool]:
        """The map of each final layer, in units of `speaks`, the sum of logits; shapes (B, h, w).

        Layers of one network whose input is no average over the image have one map together; if there are none, the
        means of the maps add up to the logits without what is the same for all images, which is the second value.
        """
        found, is_exact, done = [], True, set()
        for name, features in self._inputs.items():
            body = _body(name)
            averaged = next((grid for grid in self._grids(body) if _is_mean(grid, features)), None)
            if averaged is not None:
                (slope,) = torch.autograd.grad(speaks, features, retain_graph=True)
                found.append(_weighted(averaged, _of_features(slope)))
                continue
            is_exact = False
            if body not in done:
                done.add(body)
                found += self._before_attention(body, speaks)
        return found, is_exact

    def _before_attention(self, body: str, speaks: Tensor) -> Iterator[Tensor]:
        """The map of the last features of which more than one place counts for the answer."""
        for name, output in reversed(self._given):
            if _body(name) != body or (grid := _as_grid(output, self._size)) is None:
                continue
            (slope,) = torch.autograd.grad(speaks, output, retain_graph=True, allow_unused=True)
            if (
                slope is None
                or (places := kinds.present(_as_grid(slope, self._size))).flatten(2).amax(1).count_nonzero(1).min() <= 1
            ):
                continue
            is_map = output.ndim == 4
            yield _weighted(grid, places.mean((2, 3), keepdim=True) if is_map else places)
            return

    def _grids(self, body: str) -> Iterator[Tensor]:
        """The features with places of a body, the last first."""
        for name, output in reversed(self._given):
            if _body(name) == body and (grid := _as_grid(output, self._size)) is not None:
                yield grid


def _body(name: str) -> str:
    """Which of several networks side by side a module is of; "" if there is one."""
    first, _, rest = name.partition(".")
    return rest.partition(".")[0] if first == SIDE_BY_SIDE else ""


def _of_features(slope: Tensor) -> Tensor:
    """The slope (B, C, 1, 1) after features, of what a final layer received: (B, C), (B, C, h, w) or (B, N, C)."""
    slope = slope.sum((2, 3)) if slope.ndim == 4 else slope.flatten(1, -2).sum(1) if slope.ndim > 2 else slope
    return slope[..., None, None]


def _weighted(grid: Tensor, weights: Tensor) -> Tensor:
    """The sum over features. Shapes: (B, C, h, w), (B, C, 1 or h, 1 or w) -> (B, h, w)."""
    return (grid.detach() * weights).sum(1)


def _is_mean(grid: Tensor, features: Tensor) -> bool:
    """Whether what a final layer receives is the average of a map, or the map itself."""
    features = features.detach()
    if features.shape == grid.shape:
        return bool(torch.equal(features, grid))
    features = features.flatten(1)
    return features.shape == grid.shape[:2] and torch.allclose(grid.mean((2, 3)), features, rtol=1e-3, atol=1e-4)


def _as_grid(output: Tensor, size: tuple[int, int]) -> Tensor | None:
    """What a module gave as (B, C, h, w), a view of it; None if it has no places of the image, or a single one.

    Maps have features first or, as in Swin, last; of tokens, the first ones are none of the image.
    """
    height, width = size
    if output.ndim == 4:
        for grid in (output, output.permute(0, 3, 1, 2)):
            h, w = grid.shape[-2:]
            if h * w > 1 and 2 * h <= height and abs(h * width - w * height) < max(height, width):
                return grid
        return None
    count = output.shape[1]
    for prefix in range(min(MOST_PREFIX, count - 1)):
        h = round(((count - prefix) * height / width) ** 0.5)
        w = (count - prefix) // max(h, 1)
        if h * w == count - prefix > 1 and 2 * h <= height and abs(h * width - w * height) < max(height, width):
            return output[:, prefix:].transpose(1, 2).unflatten(2, (h, w))
    return None
