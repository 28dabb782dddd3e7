"""A multilayer perceptron for images of 32 px, trained on CIFAR-10 by `transferkit pretrain`."""

import torch
from torch import Tensor, nn

from transferkit.zoo.errors import UsageError
from transferkit.zoo.layers import DropConnectLinear, Linear, check_inference, he_normal

SIZE_PX = 32  # a first layer of one weight a pixel knows no other
MID_GREY = 0.5  # the mean pixel of a network that has no training images yet
WIDTHS = (10_000, 1_000, 100)  # of the hidden layers: 41 M weights, 31 M of them in the first


class CifarMlp(nn.Module):
    """Three hidden layers with rectifiers on zero-centred pixels, and a linear head.

    The buffer `mean`, the mean training image, travels with the weights. The state is the same with or without dropout
    and DropConnect, which act in training alone: dropout on what fc2 and fc3 receive; DropConnect on the weights of
    fc3, instead of dropout there: a mask of fc1 or fc2 for every example would be millions of draws an image.
    In evaluation, `inference` "mean" is the mean network; "gaussian" is the mean of fc3's rectifiers over masks, their
    sums taken as normally distributed. A network saved is plain: opened from its file, it predicts as the mean network.

    Shapes: (B, 3, 32, 32), pixels in 0..1 -> (B, num_classes).
    Raises: UsageError for dropout and DropConnect together in fc3, or Gaussian inference without DropConnect.
    """

    mean: Tensor

    def __init__(
        self,
        num_classes: int = 10,
        *,
        widths: tuple[int, int, int] = WIDTHS,
        dropout: tuple[float, float] = (0.0, 0.0),
        dropconnect: float = 0.0,
        inference: str = "mean",
    ):
        super().__init__()
        check_inference(inference, dropconnect)
        if dropconnect and dropout[1]:
            raise UsageError(
                f"fc3 has dropconnect {dropconnect} instead of dropout; give dropout ({dropout[0]}, 0), not {dropout}"
            )
        self.register_buffer("mean", torch.full((3, SIZE_PX, SIZE_PX), MID_GREY))
        self.fc1 = nn.Linear(self.mean.numel(), widths[0])
        self.fc2 = Linear(widths[0], widths[1], dropout=dropout[0])
        if dropconnect:
            self.fc3 = DropConnectLinear(
                widths[1], widths[2], dropconnect=dropconnect, inference=inference, activation="relu"
            )
        else:
            self.fc3 = Linear(widths[1], widths[2], dropout=dropout[1])
        self.fc = nn.Linear(widths[2], num_classes)
        for layer in (self.fc1, self.fc2, self.fc3, self.fc):
            he_normal(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1:] != self.mean.shape:
            raise UsageError(f"this network takes images of 3 x {SIZE_PX} x {SIZE_PX}, not {tuple(x.shape[1:])}")
        return self.from_first(self.fc1((x - self.mean).flatten(1)))  # (B, K)

    def from_first(self, x: Tensor) -> Tensor:
        """The logits, from what fc1 gives. Shapes: (B, 10000) -> (B, num_classes)."""
        for layer in (self.fc2, self.fc3, self.fc):
            x = layer(x.relu())
        return x
