"""Heads: from the last module's features and the stem's output to a heatmap per keypoint, at a quarter of the input.

SimCC's gives two distributions per keypoint instead.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hrnas.nets.layers import Lifted, SeparableConv
from hrnas.nets.segments import segmented


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


class SimCCHead(nn.Module):
    """SimCC: how likely each x and each y is, in bins of 1 / `split` input pixels. Li et al., ECCV 2022.

    1x1 -> for each axis, 4 `split` bins in each cell; sum of the likelihoods along the other axis (as logarithms)
    -> (B, keypoints, W * split + H * split), x first

    # Unlike the paper: its two linear layers on flattened maps fix the size of the input, and a network here has none.
    """

    def __init__(self, width: int, keypoints: int, split: int) -> None:
        super().__init__()
        self.keypoints, self.bins = keypoints, 4 * split
        parts = (self.bins,) * (2 * keypoints)
        self.final = segmented(nn.Conv2d(width, sum(parts), 1), outputs=parts)

    def forward(self, features: list[Tensor], stem: Tensor) -> Tensor:
        y = self.final(features[0])
        across, down = y.unflatten(1, (2, self.keypoints, self.bins)).unbind(1)  # (B, keypoints, bins, h, w) each
        return torch.cat(
            [likelihood.transpose(2, 3).flatten(2) for likelihood in (across.logsumexp(3), down.logsumexp(4))], 2
        )
