"""Lite-HRNet's rows: the shuffle block, and the block that weights channels instead of mixing them.

Yu et al., Lite-HRNet: A Lightweight High-Resolution Network, CVPR 2021, arXiv 2104.06403.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from hrnas.nets.layers import ConvNorm, interleave
from hrnas.nets.segments import segmented


class Shuffle(nn.Module):
    """ShuffleNetV2: half the channels pass; half go 1x1, norm, ReLU, depthwise, norm, 1x1, norm, ReLU; then shuffle."""

    def __init__(self, width: int, kernel: int = 3) -> None:
        super().__init__()
        half = width // 2
        self.conv1 = ConvNorm(half, half, act=True)
        self.depthwise = ConvNorm(half, half, kernel, groups=half)
        self.conv2 = ConvNorm(half, half, act=True)

    def forward(self, x: Tensor) -> Tensor:
        kept, worked = x.chunk(2, dim=1)
        return interleave(kept, self.conv2(self.depthwise(self.conv1(worked))))


class CrossResolutionWeighting(nn.Module):
    """Weight each channel at each position of the coarsest map, from all channels of all resolutions at that position.

    pool to the coarsest size, concatenate -> 1x1, norm, ReLU -> 1x1, norm, sigmoid -> split, upsample, multiply
    """

    def __init__(self, widths: tuple[int, ...], reduction: int) -> None:
        super().__init__()
        self.widths = list(widths)
        total = sum(widths)
        self.reduce = segmented(ConvNorm(total, total // reduction, act=True), inputs=widths)
        self.expand = segmented(ConvNorm(total // reduction, total), outputs=widths)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return weigh_together(features, self.widths, lambda x: torch.sigmoid(self.expand(self.reduce(x))))


class SqueezeExcite(nn.Module):
    """Weight every channel of one resolution, from the mean of each: 1x1, ReLU, 1x1, sigmoid, multiply."""

    sees: ClassVar = ("reduce",)
    weighs: ClassVar = ("expand",)

    def __init__(self, width: int, reduction: int, bias: bool = True) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(width, width // reduction, 1, bias=bias)
        self.act = nn.ReLU(inplace=True)
        self.expand = nn.Conv2d(width // reduction, width, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.expand(self.act(self.reduce(self.pool(x)))))


class WeightedShuffleRow(nn.Module):
    """Conditional channel weighting (figure 1 b of the paper).

    half the channels pass; the rest: weight across resolutions -> depthwise, norm -> weight within each; then shuffle

    Args:
        cross, depthwise, single: rows on half the widths; no weighting where None.
    """

    def __init__(self, cross: nn.Module | None, depthwise: nn.Module, single: nn.Module | None) -> None:
        super().__init__()
        self.cross = cross
        self.depthwise = depthwise
        self.single = single

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        halves = [x.chunk(2, dim=1) for x in features]
        worked = [second for _, second in halves]
        if self.cross is not None:
            worked = self.cross(worked)
        worked = self.depthwise(worked)
        if self.single is not None:
            worked = self.single(worked)
        return [interleave(first, second) for (first, _), second in zip(halves, worked, strict=True)]


def weigh_together(features: list[Tensor], widths: list[int], weigh: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Weight several resolutions by what they are together: pool to the coarsest size, concatenate -> `weigh` ->
    split, upsample, multiply.

    Args:
        weigh: (B, sum of the widths, h, w), at the size of the coarsest -> weights of the same shape.
    """
    # each resolution is half the one before: factors known beforehand keep exported graphs free of shapes
    factors = [2**step for step in reversed(range(len(features)))]
    pooled = [functional.avg_pool2d(x, f) if f > 1 else x for x, f in zip(features, factors, strict=True)]
    weights = weigh(torch.cat(pooled, dim=1)).split(widths, dim=1)
    return [x * _upsample(w, f) for x, w, f in zip(features, weights, factors, strict=True)]


def _upsample(x: Tensor, factor: int) -> Tensor:
    return functional.interpolate(x, scale_factor=float(factor), mode="nearest") if factor > 1 else x
