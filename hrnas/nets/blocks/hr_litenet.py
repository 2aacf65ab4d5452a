"""HR-LiteNet: L_block and L_basic, and the separable convolutions that join its resolutions.

Cai, Zhuang, Chen, Jiang, Lightweight high-performance pose recognition network: HR-LiteNet, AIMS Press 2024. Its text
leaves widths and joints open; the readings here are those that give its printed parameters and operations.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from hrnas.nets.blocks.le_hrnet import Ghost
from hrnas.nets.layers import ConvNorm, SeparableConv
from hrnas.nets.segments import on_parts, segmented


def separable_relu(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> SeparableConv:
    """Depthwise convolution, norm, ReLU; 1x1, norm, ReLU: as in MobileNet, which the paper cites for it."""
    return SeparableConv(inputs, outputs, kernel, stride, between=True)


def stepwise(widths: tuple[int, ...]) -> nn.Module:
    """Separable convolutions of stride 2 from each of the widths to the next."""
    return nn.Sequential(*(separable_relu(inputs, outputs, 2) for inputs, outputs in pairwise(widths)))


class LBlock(nn.Module):
    """L_block, figure 4: a quarter of the output's channels do the work.

    left: the input; where the widths differ (form a), 1x1, norm of it
    right: 1x1, norm, ReLU -> separable convolution -> ghost convolution, or in form a half of it and half a 1x1
    left + right -> attention where there is one

    Args:
        split: the separable convolution makes twice the channels, and the two halves of form a see one half of them.
    """

    def __init__(self, inputs: int, outputs: int, split: bool, attention: nn.Module | None) -> None:
        super().__init__()
        middle = outputs // 4
        wide = 2 * middle if split else middle
        keeps = inputs == outputs
        self.left = None if keeps else ConvNorm(inputs, outputs)
        self.reduce = ConvNorm(inputs, middle, act=True)
        self.conv = separable_relu(middle, wide)
        self.expand = Ghost(wide, outputs) if keeps else HalfGhost(wide, outputs, split)
        if split:
            segmented(self.conv.pointwise, outputs=(middle, middle))
            on_parts(self.expand, (middle, middle))
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        right = self.expand(self.conv(self.reduce(x)))
        both = (x if self.left is None else self.left(x)) + right
        return both if self.attention is None else self.attention(both)


class HalfGhost(nn.Module):
    """One half of the output by 1x1, norm, ReLU, the other by a ghost convolution.

    Args:
        split: each half sees one half of the input; else both see all of it.
    """

    def __init__(self, inputs: int, outputs: int, split: bool) -> None:
        super().__init__()
        self.split = split
        seen = inputs // 2 if split else inputs
        self.conv = ConvNorm(seen, outputs // 2, act=True)
        self.ghost = Ghost(seen, outputs // 2)

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1) if self.split else (x, x)
        return torch.cat([self.conv(first), self.ghost(second)], dim=1)


class LBasic(nn.Module):
    """L_basic, figure 5: x + (two separable convolutions)(x) + attention(x), then ReLU; without attention two terms."""

    def __init__(self, width: int, kernel: int, attention: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = separable_relu(width, width, kernel=kernel)
        self.conv2 = separable_relu(width, width, kernel=kernel)
        self.attention = attention
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        total = x + self.conv2(self.conv1(x))
        return self.act(total if self.attention is None else total + self.attention(x))
