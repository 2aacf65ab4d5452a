"""X-HRNet's part: weights along one side of the map, from attention along the other.

Zhou et al., X-HRNet: Towards Lightweight Human Pose Estimation with Spatially Unidimensional Self-Attention, ICME 2022,
arXiv 2310.08042.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from hrnas.nets.layers import interleave


class UnidimensionalAttention(nn.Module):
    """One weight for each channel and row of the map (or each channel and column): the paper's SUSA.

    along the height: mean of all rows, each times its learnt weight -> depthwise 1x1, softmax over the columns -> sum
    of the columns by it -> 1x1, layer norm over the channels, sigmoid -> multiply

    Args:
        along: the side that the weights run along: `height` gives one to every row, `width` one to every column.
        longest: the longest side that has weights for its positions, in positions of the map.
    """

    def __init__(self, width: int, along: Literal["height", "width"], longest: int) -> None:
        super().__init__()
        self.along = along
        self.positions = nn.Parameter(torch.empty(1, 1, longest, 1))
        self.mix = nn.Conv2d(width, width, 1)
        self.query = nn.Conv2d(width, width, 1, groups=width)  # as released, with a bias that the softmax loses
        self.norm = nn.LayerNorm(width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Let all positions begin with the same weight."""
        nn.init.ones_(self.positions)

    def forward(self, x: Tensor) -> Tensor:
        if self.along == "height":
            return x * self._weights(x)
        return x * self._weights(x.transpose(2, 3)).transpose(2, 3)

    def _weights(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, 1)."""
        mean = (x * self.positions[:, :, : x.shape[2]]).mean(dim=2, keepdim=True)
        shares = self.query(mean).transpose(2, 3).softmax(dim=2)
        mixed = self.mix(x @ shares)
        return torch.sigmoid(self.norm(mixed.transpose(1, 3)).transpose(1, 3))


class CrossAttention(nn.Module):
    """Half the channels are weighted along the height, half along the width; then shuffle them (the code's parallel form)."""

    def __init__(self, width: int, longest: tuple[int, int]) -> None:
        super().__init__()
        height_positions, width_positions = longest
        self.height = UnidimensionalAttention(width // 2, "height", height_positions)
        self.width = UnidimensionalAttention(width // 2, "width", width_positions)

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        return interleave(self.height(first), self.width(second))
