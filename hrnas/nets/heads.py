"""Heads: from the last module's features and the stem's output to a heatmap per keypoint, at a quarter of the input."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from hrnas.nets.layers import Lifted, SeparableConv


class ConvHead(nn.Module):
    """HRNet: a 1x1 convolution on the finest features."""

    def __init__(self, widths: tuple[int, ...], keypoints: int) -> None:
        super().__init__()
        self.final = nn.Conv2d(widths[0], keypoints, 1)

    def forward(self, features: list[Tensor], stem: Tensor) -> Tensor:
        return self.final(features[0])


class IterativeHead(nn.Module):
    """Lite-HRNet: coarse to fine, add what came so far, depthwise-separable to the next width, upsample; then 1x1."""

    def __init__(self, widths: tuple[int, ...], keypoints: int) -> None:
        super().__init__()
        coarsest_first = widths[::-1]
        following = (*coarsest_first[1:], widths[0])
        self.projects = Lifted(SeparableConv(i, o) for i, o in zip(coarsest_first, following, strict=True))
        self.final = nn.Conv2d(widths[0], keypoints, 1)

    def forward(self, features: list[Tensor], stem: Tensor) -> Tensor:
        coarsest, *finer = features[::-1]
        first, *projects = self.projects
        y = first(coarsest)
        for x, project in zip(finer, projects, strict=True):
            y = project(x + functional.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=True))
        return self.final(y)
