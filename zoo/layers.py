"""Linear layers that drop inputs or weights in training, new heads made of them, and how they are initialised."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from transferkit.zoo.errors import UsageError

MASK_ELEMENTS = 2**22  # entries of the masks held at once, 16 MB of masked weights: larger parts were slower
GAUSSIAN_SAMPLES = 1000  # put a mean of softmax outputs within 0.016 of the limit, one standard error


@torch.no_grad()
def he_normal(weight: Tensor, *, generator: torch.Generator | None = None) -> None:
    """Fill `weight` with normal numbers of variance 2 / fan-in, drawn on the CPU so that every device gets the same.

    Shapes: (out, in, ...); fan-in is the number of weights that one output sees.
    Source: He et al. 2015, equation 10, https://arxiv.org/abs/1502.01852
    """
    std = math.sqrt(2 / weight[0].numel())
    weight.copy_(torch.empty(weight.shape).normal_(0, std, generator=generator))


class Linear(nn.Linear):
    """A linear layer with dropout on its input; its state has the names of `nn.Linear`, so dropout changes no file.

    Shapes: (B, D) -> (B, K).
    """

    def __init__(self, in_features: int, out_features: int, *, dropout: float = 0.0):
        super().__init__(in_features, out_features)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, self.dropout, self.training))


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution with dropout on its input: the form that a few networks give their linear head.

    Shapes: (B, D, H, W) -> (B, K, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int, *, dropout: float = 0.0):
        super().__init__(in_channels, out_channels, 1)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, self.dropout, self.training))


class DropConnectLinear(nn.Linear):
    """A linear layer that in training sets each weight to zero with probability `dropconnect`, anew for each example.

    The weights that stay are divided by 1 - dropconnect, so those of the mean network, the expectation over masks, are
    `weight` itself, and the state is that of `nn.Linear`. The paper leaves them as they are and scales at inference
    instead: the same network, with other numbers in the file. Biases are never dropped; the paper drops them too.

    In evaluation, `inference` "mean" is the mean network; "gaussian" is the mean of the `activation` that follows over
    masks, their sums taken as normally distributed: what comes out is what `activation` maps to that mean (a logarithm
    before "softmax", the mean itself before "relu"). The mean over rectifiers has a closed form. That over softmax is
    sampled, with the same noise for every example and call, so that an answer depends on no other.

    Shapes: (..., D) -> (..., K).
    Raises: UsageError for a value that is not allowed.
    Source: Wan et al. 2013, sections 3.1 and 3.2, https://proceedings.mlr.press/v28/wan13.html
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        dropconnect: float = 0.5,
        inference: str = "mean",
        activation: str = "softmax",
    ):
        super().__init__(in_features, out_features)
        if not 0 <= dropconnect < 1:
            raise UsageError(f"dropconnect is a share from 0 to below 1, not {dropconnect}")
        if inference not in ("mean", "gaussian"):
            raise UsageError(f"inference {inference!r} is unknown; allowed: mean, gaussian")
        if activation not in ("softmax", "relu"):
            raise UsageError(f"no Gaussian inference through the activation {activation!r}; allowed: softmax, relu")
        self.dropconnect = dropconnect
        self.inference = inference
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        if self.dropconnect == 0 or (self.inference == "mean" and not self.training):
            return super().forward(x)
        if self.training:
            masked = _masked(x.reshape(-1, self.in_features), self.weight, self.dropconnect)
            return masked.reshape(*x.shape[:-1], self.out_features) + self.bias
        if self.activation == "relu":
            return rectified_mean(*self.moments(x))
        generator = torch.Generator().manual_seed(0)
        mean = gaussian_average(self, x, nn.Softmax(-1), samples=GAUSSIAN_SAMPLES, generator=generator)
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the variance over masks of what the layer gives in training; its K outputs are independent.

        Shapes: (..., D) -> (..., K), (..., K).
        """
        odds = self.dropconnect / (1 - self.dropconnect)  # the variance of a mask's entry over its squared mean
        return super().forward(x), odds * nn.functional.linear(x.square(), self.weight.square())


def rectified_mean(mean: Tensor, variance: Tensor) -> Tensor:
    """The mean of max(u, 0) for normal u of these moments: m Phi(m / s) + s phi(m / s), with s the deviation.

    Shapes: mean and variance of one shape, which is that of the result.
    Source: the integral of u times its density over u > 0, with the standard normal's distribution Phi and density phi.

    >>> rectified_mean(torch.zeros(2), torch.tensor([0, 2 * torch.pi]))
    tensor([0., 1.])
    """
    deviation = variance.sqrt()
    z = mean / deviation.clamp_min(torch.finfo(mean.dtype).tiny)  # no deviation at all: z is 0 or near infinity
    density = (-z.square() / 2).exp() / math.sqrt(2 * math.pi)
    return mean * torch.special.ndtr(z) + deviation * density


def gaussian_average(
    layer: DropConnectLinear,
    x: Tensor,
    activation: Callable[[Tensor], Tensor],
    *,
    samples: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The mean of activation(u) over `samples` draws of u, normal with the moments of the layer's output over masks.

    Examples share their draws, made on the CPU so that every device gets the same.

    Shapes: (..., D) -> (..., K).
    Source: Wan et al. 2013, algorithm 2, https://proceedings.mlr.press/v28/wan13.html
    """
    mean, variance = layer.moments(x)
    noise = torch.randn(samples, layer.out_features, generator=generator).to(mean)
    total = torch.zeros_like(mean)
    deviation = variance.sqrt()
    for row in noise:  # (K,)
        total += activation(mean + deviation * row)
    return total / samples


def _masked(x: Tensor, weight: Tensor, share: float) -> Tensor:
    """`x` times weights of which every row of `x` has lost another `share`; the others are scaled up to make up for it.

    Masks of more than `MASK_ELEMENTS` are made in parts, and drawn again from the same numbers in the backward pass.

    Shapes: x (B, D), weight (K, D) -> (B, K).
    """
    parts = x.split(max(1, MASK_ELEMENTS // weight.numel()))
    if len(parts) == 1:
        return _masked_part(x, weight, share)
    return torch.cat([checkpoint(_masked_part, part, weight, share, use_reentrant=False) for part in parts])


def _masked_part(x: Tensor, weight: Tensor, share: float) -> Tensor:
    keep = torch.rand(len(x), *weight.shape, device=x.device) >= share  # (B, K, D)
    return torch.einsum("bd,bkd->bk", x / (1 - share), weight * keep)


@dataclass(frozen=True, kw_only=True)
class Dropping:
    """What a new head drops in training, features or weights, and how it predicts after DropConnect.

    `inference` is "mean", by the mean network, or "gaussian", by the mean probability over masks, their sums taken as
    normally distributed.

    Raises: UsageError for a share outside its range, for dropout and DropConnect together, and for Gaussian inference
    without DropConnect.
    """

    dropout: float = 0.0
    dropconnect: float = 0.0
    inference: str = "mean"

    def __post_init__(self):
        if not 0 <= self.dropout < 1 or not 0 <= self.dropconnect < 1:
            raise UsageError(
                f"dropout and dropconnect are shares from 0 to below 1, not {self.dropout} and {self.dropconnect}"
            )
        if self.dropconnect and self.dropout:
            raise UsageError(
                f"dropout {self.dropout} and dropconnect {self.dropconnect} are two ways to one end; choose one"
            )
        check_inference(self.inference, self.dropconnect)


def check_inference(inference: str, dropconnect: float) -> None:
    """Raise UsageError for inference over the masks of DropConnect where there is none: it would change nothing."""
    if inference != "mean" and not dropconnect:
        raise UsageError(f"inference {inference!r} is over the masks of DropConnect; it needs a dropconnect above 0")


NOTHING_DROPPED = Dropping()


@overload
def new_head(
    old: nn.Linear, num_classes: int, *, dropping: Dropping = ..., generator: torch.Generator | None = ...
) -> nn.Linear:
    """Of a linear layer."""


@overload
def new_head(
    old: nn.Conv2d, num_classes: int, *, dropping: Dropping = ..., generator: torch.Generator | None = ...
) -> nn.Conv2d:
    """Of a convolution."""


def new_head(
    old: nn.Linear | nn.Conv2d,
    num_classes: int,
    *,
    dropping: Dropping = NOTHING_DROPPED,
    generator: torch.Generator | None = None,
) -> nn.Linear | nn.Conv2d:
    """A fresh layer in the form of `old` with `num_classes` outputs: He-initialised weight, zero bias.

    Raises: UsageError for fewer than one class, and for DropConnect on a convolution.
    """
    if num_classes < 1:
        raise UsageError(f"a head needs num_classes >= 1, not {num_classes}")
    if dropping.dropconnect and isinstance(old, nn.Conv2d):
        raise UsageError("the head of this network is a convolution, and dropconnect is for linear ones; use dropout")
    if isinstance(old, nn.Conv2d):
        head = PointwiseConv2d(old.in_channels, num_classes, dropout=dropping.dropout)
    elif dropping.dropconnect:
        head = DropConnectLinear(
            old.in_features, num_classes, dropconnect=dropping.dropconnect, inference=dropping.inference
        )
    else:
        head = Linear(old.in_features, num_classes, dropout=dropping.dropout)
    he_normal(head.weight, generator=generator)
    nn.init.zeros_(head.get_parameter("bias"))
    return head.to(old.weight).requires_grad_(old.weight.requires_grad).train(old.training)
