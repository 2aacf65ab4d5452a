"""Lite CSW-HRNet's part: a weight for every channel times one for every position, of one resolution or of all.

Xi et al., Lite CSW-HRNet: Lightweight High-Resolution Human Pose Estimation Based on Channel Spatial Weighting, 2024.
Both weightings stand in the places of Lite-HRNet's, in `WeightedShuffleRow`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hrnas.nets.blocks.attention import mean_and_maximum
from hrnas.nets.blocks.lite_hrnet import weigh_together


class ChannelSpatialWeights(nn.Module):
    """A weight for every channel times one for every position: (B, C, H, W) -> weights of the same shape.

    mean over positions    ┐
    maximum over positions ┴ the same 1D convolution over channels -> sum -> sigmoid (eq. 9, figure 5)
    mean over channels     ┐
    maximum over channels  ┴ convolution to one map -> sigmoid (eq. 10, figure 7)

    Args:
        channel_kernel: channels that decide about one.
        kernel: of the convolution over positions.
        series: positions are weighted by what the channels' weights leave (eq. 12), not by the input (eq. 2 and 3,
            figures 3 and 8, and the text).
    """

    def __init__(self, channel_kernel: int, kernel: int, series: bool) -> None:
        super().__init__()
        self.mean = nn.AdaptiveAvgPool2d(1)  # pools that torchstat sees: without them 0.45 G would be 0.44
        self.maximum = nn.AdaptiveMaxPool2d(1)
        self.over_channels = nn.Conv1d(1, 1, channel_kernel, padding=channel_kernel // 2, bias=False)
        self.over_positions = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)
        self.series = series

    def forward(self, x: Tensor) -> Tensor:
        channels = self._of_channels(x)
        return channels * self._of_positions(x * channels if self.series else x)

    def _of_channels(self, x: Tensor) -> Tensor:
        # convolving the sum is the sum of both convolved, which share their kernel
        both = (self.mean(x) + self.maximum(x)).flatten(1).unsqueeze(1)  # (B, 1, C)
        return torch.sigmoid(self.over_channels(both)).transpose(1, 2).unsqueeze(3)

    def _of_positions(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.over_positions(mean_and_maximum(x)))


class ChannelSpatial(nn.Module):
    """Weight one resolution by its own channels and positions (section 3.2). The arguments are those of its weights."""

    def __init__(self, channel_kernel: int, kernel: int, series: bool) -> None:
        super().__init__()
        self.weights = ChannelSpatialWeights(channel_kernel, kernel, series)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weights(x)


class CrossChannelSpatial(nn.Module):
    """Weight all resolutions by the channels and positions of all (section 3.3, eq. 14 and 15).

    pool to the coarsest size, concatenate -> weights -> split, upsample, multiply
    """

    def __init__(self, widths: tuple[int, ...], channel_kernel: int, kernel: int, series: bool) -> None:
        super().__init__()
        self.widths = list(widths)
        self.weights = ChannelSpatialWeights(channel_kernel, kernel, series)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return weigh_together(features, self.widths, self.weights)
