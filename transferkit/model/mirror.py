"""A network that looks at each image twice, as it is and mirrored left for right, and answers with the mean."""

import torch
from torch import Tensor, nn

from transferkit.model.build import Backbone


class MirrorAveraged(nn.Module):
    """The mean of a network's logits for an image and its mirror image.

    Both go through the network in one batch: each of its layers runs once, and stands once in a graph that is exported.

    Shapes: (B, 3, H, W) -> (B, K).
    """

    def __init__(self, network: Backbone):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits = self.network(torch.cat([x, x.flip(-1)]))  # (2 B, K)
        return logits.unflatten(0, (2, -1)).mean(0)  # len(x) would make B a constant of the graph
