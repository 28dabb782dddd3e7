"""A copy of a network that follows it as training goes on: what is validated and kept."""

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

_Pair = tuple[list[Tensor], list[Tensor]]


class RunningAverage:
    """The exponential running average of a network's weights; `network` is a copy that has them.

    Only what training may change is followed: trainable parameters, and the buffers of layers in training mode.

    Source: Polyak and Juditsky 1992, https://doi.org/10.1137/0330046
    """

    def __init__(self, network: nn.Module, *, decay: float):
        self.network = copy.deepcopy(network)
        self._source = network
        self._average = get_ema_multi_avg_fn(decay)  # decay * average + (1 - decay) * weights
        self._pairs: list[_Pair] | None = None

    def update(self) -> None:
        """Take in the weights as they are now. No device is waited for, as torch's `AveragedModel` does each time."""
        if self._pairs is None:
            self._pairs = self._changing()
        for averaged, weights in self._pairs:
            self._average(averaged, weights, None)

    def _changing(self) -> list[_Pair]:
        """The tensors that follow and those they follow, of each type that training changes."""
        by_type: dict[torch.dtype, _Pair] = {}
        known: set[int] = set()  # a tensor that two layers share is followed once

        def add(averaged: Tensor, weight: Tensor) -> None:
            if id(weight) in known:
                return
            known.add(id(weight))
            mine, its = by_type.setdefault(weight.dtype, ([], []))
            mine.append(averaged.detach())
            its.append(weight.detach())

        for copied, module in zip(self.network.modules(), self._source.modules()):
            for averaged, weight in zip(copied.parameters(recurse=False), module.parameters(recurse=False)):
                if weight.requires_grad:
                    add(averaged, weight)
            if module.training:
                for averaged, held in zip(copied.buffers(recurse=False), module.buffers(recurse=False)):
                    add(averaged, held)
        return list(by_type.values())
