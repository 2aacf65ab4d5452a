"""Attention that several papers take from elsewhere: ECA, CBAM, coordinate attention.

Each module is (batch, channels, height, width) -> the same shape, at any size.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from hrnas.nets.layers import ConvNorm


class EfficientChannel(nn.Module):
    """Weight every channel, from the means of its neighbours in the order of channels.

    mean over positions -> 1D convolution over channels -> sigmoid -> multiply
    ECA: Wang et al., CVPR 2020, arXiv 1910.03151, figure 2.

    Args:
        kernel: channels that decide about one, odd; the channels beyond the first and the last count as 0.
    """

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means = self.pool(x).flatten(1).unsqueeze(1)  # (batch, 1, channels)
        return x * torch.sigmoid(self.conv(means)).transpose(1, 2).unsqueeze(3)


class CBAM(nn.Module):
    """Weight every channel, then every position; the biggest value counts beside the mean.

    mean over positions -> 1x1, ReLU, 1x1 ┐
    maximum over positions -> the same    ┴ sum -> sigmoid -> multiply
    mean over channels                    ┐
    maximum over channels                 ┴ convolution to one map -> sigmoid -> multiply
    Woo et al., ECCV 2018, arXiv 1807.06521, equations 2 and 3, which have no biases.
    """

    sees: ClassVar = ("reduce",)
    weighs: ClassVar = ("expand",)

    def __init__(self, width: int, reduction: int, kernel: int) -> None:
        super().__init__()
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.maximum = nn.AdaptiveMaxPool2d(1)
        self.reduce = nn.Conv2d(width, width // reduction, 1, bias=False)
        self.act = nn.ReLU(inplace=True)
        self.expand = nn.Conv2d(width // reduction, width, 1, bias=False)
        self.spatial = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x * torch.sigmoid(self._channels(self.mean(x)) + self._channels(self.maximum(x)))
        return x * torch.sigmoid(self.spatial(mean_and_maximum(x)))

    def _channels(self, x: Tensor) -> Tensor:
        return self.expand(self.act(self.reduce(x)))


class Coordinate(nn.Module):
    """Weight every channel of every row, and of every column.

    means of rows and of columns, joined -> 1x1 to `middle`, norm, h-swish -> apart again, 1x1 and sigmoid for each ->
    multiply with both
    Hou et al., CVPR 2021, arXiv 2103.02907, equations 4 to 9.
    """

    sees: ClassVar = ("reduce",)
    weighs: ClassVar = ("expand_rows", "expand_columns")

    def __init__(self, width: int, middle: int) -> None:
        super().__init__()
        self.pool_rows = nn.AdaptiveAvgPool2d((None, 1))
        self.pool_columns = nn.AdaptiveAvgPool2d((1, None))
        self.reduce = ConvNorm(width, middle)  # the authors' code has a bias here, which the norm takes away again
        self.expand_rows = nn.Conv2d(middle, width, 1)
        self.expand_columns = nn.Conv2d(middle, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([self.pool_rows(x), self.pool_columns(x).transpose(2, 3)], dim=2)
        rows, columns = functional.hardswish(self.reduce(joined)).split(x.shape[2:], dim=2)
        weights = torch.sigmoid(self.expand_rows(rows))
        return x * weights * torch.sigmoid(self.expand_columns(columns.transpose(2, 3)))


def mean_and_maximum(x: Tensor) -> Tensor:
    """Of all channels, at every position: (batch, channels, height, width) -> (batch, 2, height, width)."""
    return torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
