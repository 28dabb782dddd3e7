"""A small residual network for images of 32 px, trained on CIFAR-10 by `transferkit pretrain`."""

from torch import Tensor, nn

WIDTHS = (32, 64, 128, 256)  # channels of the four stages: 1.2 M weights, 0.06 G multiply-adds at 32 px


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes.

    Shapes: (B, width_in, H, W) -> (B, width_out, H / stride, W / stride).
    Source: He et al. 2016, figure 2, https://arxiv.org/abs/1512.03385
    """

    def __init__(self, width_in: int, width_out: int, *, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width_out)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width_out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Identity()
        if stride != 1 or width_in != width_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(width_in, width_out, 1, stride, bias=False), nn.BatchNorm2d(width_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.shortcut(x))


class CifarResNet(nn.Module):
    """A stem, four residual blocks, global average pooling and a linear head.

    Shapes: (B, 3, H, W), H and W from 32 -> (B, num_classes).
    """

    def __init__(self, num_classes: int = 10, *, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
        )
        self.stage1 = ResidualBlock(widths[0], widths[0], stride=1)
        self.stage2 = ResidualBlock(widths[0], widths[1], stride=2)
        self.stage3 = ResidualBlock(widths[1], widths[2], stride=2)
        self.stage4 = ResidualBlock(widths[2], widths[3], stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[3], num_classes)
        self._initialise()

    def _initialise(self) -> None:
        """He initialisation; the last normalisation of a block starts at zero, so each block starts as its shortcut.

        Source: He et al. 2015, equation 10, https://arxiv.org/abs/1502.01852; Goyal et al. 2017, section 5.1,
        https://arxiv.org/abs/1706.02677
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, ResidualBlock):
                nn.init.zeros_(module.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage4(self.stage3(self.stage2(self.stage1(self.stem(x)))))  # (B, D, H / 8, W / 8)
        return self.fc(self.pool(x).flatten(1))  # (B, K)
