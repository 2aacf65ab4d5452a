"""Stems: from the picture to stage 1's output, at a quarter of its height and width."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hrnas.nets.layers import ConvNorm, SeparableConv, interleave
from hrnas.nets.segments import segmented


class BlockStem(nn.Module):
    """HRNet: two 3x3 convolutions of stride 2 to `width`, then stage 1: (B, 3, H, W) -> (B, out, H/4, W/4)."""

    def __init__(self, width: int, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, width, 3, stride=2)
        self.conv2 = ConvNorm(width, width, 3, stride=2)
        self.act = nn.ReLU(inplace=True)  # one module for both places, as released: torchstat counts a module once
        self.blocks = nn.Sequential(*blocks)

    def forward(self, image: Tensor) -> Tensor:
        return self.blocks(self.act(self.conv2(self.act(self.conv1(image)))))


class ShuffleStem(nn.Module):
    """Lite-HRNet: a 3x3 convolution of stride 2, then a shuffle block of stride 2. (B, 3, H, W) -> (B, out, H/4, W/4).

    The block's first half goes depthwise, 1x1; its second half 1x1, depthwise, 1x1.
    """

    def __init__(self, width: int, out: int, expand: int) -> None:
        super().__init__()
        half, middle = width // 2, width * expand
        second = half if out == width else width  # as released: a wider output grows in the first half alone
        self.conv = segmented(ConvNorm(3, width, 3, stride=2, act=True), outputs=(half, half))
        self.first = SeparableConv(half, out - second, stride=2)
        self.expand = ConvNorm(half, middle, act=True)
        self.depthwise = ConvNorm(middle, middle, 3, stride=2, groups=middle)
        self.project = ConvNorm(middle, second, act=True)

    def forward(self, image: Tensor) -> Tensor:
        first, second = self.conv(image).chunk(2, dim=1)
        both = torch.cat([self.first(first), self.project(self.depthwise(self.expand(second)))], dim=1)
        return interleave(*both.chunk(2, dim=1))
