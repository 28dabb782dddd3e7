"""The final layers of a network: where they are, what they receive, and all of them as one module."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """The final layers of a network as one module; they are shared with it.

    Shapes: (B, D) -> (B, K), where D is the sum of the layers' inputs and the logits are the mean over the layers.
    """

    def __init__(self, layers: Sequence[nn.Linear | nn.Conv2d]):
        super().__init__()
        self.training = layers[0].training
        self.layers = nn.ModuleList(layers)
        self._widths = [layer.weight.shape[1] for layer in layers]

    def forward(self, features: Tensor) -> Tensor:
        logits = []
        for layer, x in zip(self.layers, features.split(self._widths, dim=1)):
            logits.append(layer(x[:, :, None, None]).flatten(1) if isinstance(layer, nn.Conv2d) else layer(x))
        return torch.stack(logits).mean(0)  # (B, K)


class MeanAnswer(nn.Module):
    """The mean of what several networks answer, each weighed by how many final layers it has.

    In training, where they are `apart`, the answer of each. Shapes: (B, K) each -> (B, K), or (B, n, K).
    """

    def __init__(self, layers: Sequence[int]):
        super().__init__()
        self.apart = False
        self._shares = [count / sum(layers) for count in layers]

    def forward(self, *logits: Tensor) -> Tensor:
        if self.apart and self.training:
            return torch.stack(logits, 1)
        return torch.stack([each * share for each, share in zip(logits, self._shares)]).sum(0)


def final_layer(model: nn.Module, name: str) -> nn.Linear | nn.Conv2d:
    """The layer of that name. Raises: TypeError if it is not linear."""
    if isinstance(layer := model.get_submodule(name), (nn.Linear, nn.Conv2d)):
        return layer
    raise TypeError(f"{name} is a {type(layer).__name__}, no linear layer")


def pooled(x: Tensor, layer: nn.Module) -> Tensor:
    """The mean of a final layer's input over positions: (B, D, H, W) or (B, N, D) -> (B, D)."""
    if isinstance(layer, nn.Conv2d):
        return x.mean((2, 3))
    return x if x.ndim == 2 else x.flatten(1, -2).mean(1)
