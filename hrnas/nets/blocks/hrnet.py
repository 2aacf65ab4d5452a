"""HRNet's residual blocks, which are ResNet's. Sun et al., CVPR 2019, arXiv 1902.09212."""

from __future__ import annotations

from torch import Tensor, nn

from hrnas.nets.layers import ConvNorm


class Residual(nn.Module):
    """x + (conv, norm, ReLU, conv, norm, attention where there is one)(x), then ReLU."""

    def __init__(self, width: int, kernel: int = 3, attention: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, width, kernel)
        self.conv2 = ConvNorm(width, width, kernel)
        self.attention = attention
        self.act = nn.ReLU(inplace=True)  # one module for both places, as released: torchstat counts a module once

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.act(self.conv1(x)))
        return self.act(x + (y if self.attention is None else self.attention(y)))


class Bottleneck(nn.Module):
    """x + (1x1 to a quarter of the output, conv, 1x1 to the output)(x), then ReLU; 1x1 on x where the widths differ."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        middle = outputs // 4
        self.conv1 = ConvNorm(inputs, middle)
        self.conv2 = ConvNorm(middle, middle, kernel)
        self.conv3 = ConvNorm(middle, outputs)
        self.shortcut = ConvNorm(inputs, outputs) if inputs != outputs else None
        self.act = nn.ReLU(inplace=True)  # one module for all places, as released

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3(self.act(self.conv2(self.act(self.conv1(x)))))
        return self.act(y + (x if self.shortcut is None else self.shortcut(x)))
