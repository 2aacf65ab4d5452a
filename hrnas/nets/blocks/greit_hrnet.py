"""Greit-HRNet's parts: weights in groups of resolutions, weights from the positions that matter, and large kernels.

Han and Wang, Greit-HRNet: Grouped Lightweight High-Resolution Network for Human Pose Estimation, 2024. The weightings
stand in the places of Lite-HRNet's, in `WeightedShuffleRow`. The norms and biases are not in the paper: with these,
every printed count comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from hrnas.nets.blocks.lite_hrnet import weigh_together
from hrnas.nets.layers import ConvNorm, MatMul, SeparableConv, interleave
from hrnas.nets.segments import segmented


class GroupedChannelWeighting(nn.Module):
    """Weight the channels of each group of near resolutions by those of the group alone, `stack` times (GCW).

    `groups` are the widths of each group's branches, the finest first. Section 3.1, eq. 4 and 5; the stack of two in
    section 4.3.
    """

    def __init__(self, groups: Sequence[tuple[int, ...]], reduction: int, stack: int) -> None:
        super().__init__()
        self.sizes = [len(widths) for widths in groups]
        self.groups = nn.ModuleDict()  # by their branches ("0_1", "2_3"), so that a name says what is weighted
        branches = iter(range(sum(self.sizes)))
        for widths in groups:
            name = "_".join(f"{next(branches)}" for _ in widths)
            self.groups[name] = nn.Sequential(*(_GroupWeighting(widths, reduction) for _ in range(stack)))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        weighted: list[Tensor] = []
        for size, group in zip(self.sizes, self.groups.values(), strict=True):
            weighted += group(features[len(weighted) : len(weighted) + size])
        return weighted


class _GroupWeighting(nn.Module):
    """Weight the channels at each position of the coarsest map, from all channels of the group at that position.

    pool to the coarsest size, concatenate -> 1x1, norm, ReLU -> 1x1, sigmoid -> split, upsample, multiply
    """

    def __init__(self, widths: tuple[int, ...], reduction: int) -> None:
        super().__init__()
        self.widths = list(widths)
        total = sum(widths)
        self.reduce = segmented(ConvNorm(total, total // reduction, act=True), inputs=widths)
        self.expand = segmented(nn.Conv2d(total // reduction, total, 1, bias=False), outputs=widths)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return weigh_together(features, self.widths, lambda x: torch.sigmoid(self.expand(self.reduce(x))))


class GlobalSpatialWeighting(nn.Module):
    """Weight every channel of one resolution, from its sum over the positions that matter (GSW).

    1x1 to `middle`, norm, ReLU -> 1x1 to one map, norm, sigmoid: how much each position matters
    sum over the positions, by that -> 1x1, ReLU -> 1x1, sigmoid -> multiply
    Section 3.2, eq. 7 to 9, figure 4 a.

    Args:
        middle: the paper's C'.
        normalise: divide the sum by the number of positions.
    """

    sees: ClassVar = ("squeeze", "reduce")
    weighs: ClassVar = ("expand",)

    def __init__(self, width: int, middle: int, reduction: int, normalise: bool) -> None:
        super().__init__()
        self.squeeze = ConvNorm(width, middle, act=True)
        self.matter = ConvNorm(middle, 1)
        self.sum = MatMul()
        self.reduce = nn.Conv2d(width, width // reduction, 1)
        self.act = nn.ReLU(inplace=True)
        self.expand = nn.Conv2d(width // reduction, width, 1)
        self.normalise = normalise

    def forward(self, x: Tensor) -> Tensor:
        positions = x.flatten(2)  # (B, C, H * W)
        matter = torch.sigmoid(self.matter(self.squeeze(x))).flatten(2).transpose(1, 2)  # (B, H * W, 1)
        total = self.sum(positions, matter).unsqueeze(3)  # (B, C, 1, 1)
        if self.normalise:
            total = total / positions.shape[2]
        return x * torch.sigmoid(self.expand(self.act(self.reduce(total))))


class LargeKernelAttention(nn.Module):
    """Weight every channel and position by a wide neighbourhood, without a sigmoid (LKA).

    depthwise `kernel` -> depthwise `dilated`, its taps `dilation` apart -> 1x1 -> multiply
    Section 3.3, eq. 10 and 11; Guo et al., Visual Attention Network, arXiv 2202.09741, with the biases of its code.
    """

    def __init__(self, width: int, kernel: int, dilated: int, dilation: int) -> None:
        super().__init__()
        reach = dilation * (dilated // 2)
        self.depthwise = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.dilated = nn.Conv2d(width, width, dilated, padding=reach, dilation=dilation, groups=width)
        self.pointwise = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.pointwise(self.dilated(self.depthwise(x)))


class LargeKernelStem(nn.Module):
    """Lite-HRNet's stem with large kernel attention in both halves (LKS). (B, 3, H, W) -> (B, out, H/4, W/4).

    3x3 of stride 2, norm, ReLU; one half of its channels: LKA -> depthwise of stride 2, 1x1
    the other half: LKA -> 1x1 to `expand` times `width` -> depthwise of stride 2 -> 1x1; concatenate, shuffle
    Section 3.3, figure 2 a.

    Args:
        kernel, dilated, dilation: of the attention.
        place: of the attention in the other half: `first` as above, or after the convolution of stride 2 (`strided`).
    """

    def __init__(
        self,
        width: int,
        out: int,
        expand: int,
        kernel: int,
        dilated: int,
        dilation: int,
        place: Literal["first", "strided"],
    ) -> None:
        super().__init__()
        half, middle = width // 2, width * expand
        second = half if out == width else width  # as in Lite-HRNet's stem
        self.place = place
        self.conv = segmented(ConvNorm(3, width, 3, stride=2, act=True), outputs=(half, half))
        self.attention1 = LargeKernelAttention(half, kernel, dilated, dilation)
        self.first = SeparableConv(half, out - second, stride=2)
        self.attention2 = LargeKernelAttention(half if place == "first" else middle, kernel, dilated, dilation)
        self.expand = ConvNorm(half, middle, act=True)
        self.depthwise = ConvNorm(middle, middle, 3, stride=2, groups=middle)
        self.project = ConvNorm(middle, second, act=True)

    def forward(self, image: Tensor) -> Tensor:
        first, second = self.conv(image).chunk(2, dim=1)
        if self.place == "first":
            second = self.depthwise(self.expand(self.attention2(second)))
        else:
            second = self.attention2(self.depthwise(self.expand(second)))
        both = torch.cat([self.first(self.attention1(first)), self.project(second)], dim=1)
        return interleave(*both.chunk(2, dim=1))
