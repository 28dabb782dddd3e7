"""A small residual network for images of 32 to 128 px, trained on CIFAR-10 by `transferkit pretrain`."""

import torch
from torch import Tensor, nn

STEM_WIDTH = 24  # twice the 12 numbers of a 2x2 patch of three channels
WIDTHS = (64, 192, 384)  # channels of the three stages: 2.5 M weights, 0.13 G multiply-adds at 32 px


class ResidualStage(nn.Module):
    """A convolution and pooling that change the shape, and a second convolution beside a shortcut.

    Shapes: (B, width_in, H, W) -> (B, width_out, H // 2, W // 2).
    Source: Page 2018, https://github.com/davidcpage/cifar10-fast
    """

    def __init__(self, width_in: int, width_out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.bn1 = nn.BatchNorm2d(width_out)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width_out)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.pool(self.conv1(x))))
        return x + self.relu(self.bn2(self.conv2(x)))


class CifarResNet(nn.Module):
    """A stem of 2x2 patches, three residual stages, global average pooling and a linear head.

    Shapes: (B, 3, H, W), H and W from 9 -> (B, num_classes).
    """

    def __init__(self, num_classes: int = 10, *, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, STEM_WIDTH, 2), nn.ReLU(inplace=True))
        self.stage1 = ResidualStage(STEM_WIDTH, widths[0])
        self.stage2 = ResidualStage(widths[0], widths[1])
        self.stage3 = ResidualStage(widths[1], widths[2])
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[2], num_classes)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """He initialisation by fan-out; where a stage widens, its first channels begin as copies of what comes in.

        Fan-out, 9 weights for each output channel, keeps the variance of the gradients from layer to layer.

        Source: He et al. 2015, equation 14, https://arxiv.org/abs/1502.01852; Jordan 2024, section 3.1 (copies),
        https://arxiv.org/abs/2404.00498
        """
        for module in self.modules():
            if isinstance(module, ResidualStage):
                for conv in (module.conv1, module.conv2):
                    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
                nn.init.dirac_(module.conv1.weight[: module.conv1.in_channels])

    @torch.no_grad()
    def whiten(self, images: Tensor, *, floor: float = 5e-4) -> None:
        """Make the stem's filters the principal components of 2x2 patches, over their deviations, and the negatives.

        Args: floor is added to each variance. Shapes: images (N, 3, H, W), normalised.
        Source: Jordan 2024, section 3.2, https://arxiv.org/abs/2404.00498
        """
        weight, bias = self.stem.parameters()
        patches = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12).double()
        variances, components = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (components.T / (variances + floor).sqrt()[:, None]).reshape(12, 3, 2, 2)
        weight.copy_(torch.cat([filters, -filters]))
        nn.init.zeros_(bias)

    def features(self, x: Tensor) -> Tensor:
        """What the head receives. Shapes: (B, 3, H, W) -> (B, D)."""
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))  # (B, D, (H - 1) // 8, (W - 1) // 8)
        return self.pool(x).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x))
