"""Clipping of gradients in a few calls a step, whatever the number of weights."""

from collections.abc import Iterable

import torch
from torch import Tensor, _foreach_copy_, _foreach_mul_, _foreach_norm, nn  # pyright: ignore[reportPrivateImportUsage]


class Clipper:
    """Clips the norm of all gradients together; the bits are those of torch's `clip_grad_norm_`.

    That one moves each norm to the device where it is, and makes a view of it to put it beside the others: three calls
    a weight, for which a GPU waits. Here norms are copied at once into a buffer that stays.

    Args: max_norm, None: gradients are not clipped.

    Source: Pascanu et al. 2013, algorithm 1, https://arxiv.org/abs/1211.5063
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, max_norm: float | None):
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._max_norm = max_norm
        self._norms = torch.empty(0)  # one a gradient
        self._places: list[Tensor] = []  # of each in it

    @torch.no_grad()
    def clip(self) -> None:
        """Scale the gradients in place where their norm is larger; weights without a gradient count for nothing."""
        if self._max_norm is None:
            return
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        if not gradients:
            return
        if len(gradients) != len(self._places):
            self._norms = gradients[0].new_empty(len(gradients))
            self._places = list(self._norms.unbind())
        _foreach_copy_(self._places, _foreach_norm(gradients))
        norm = torch.linalg.vector_norm(self._norms)
        _foreach_mul_(gradients, (self._max_norm / (norm + 1e-6)).clamp(max=1.0))  # torch's 1e-6
