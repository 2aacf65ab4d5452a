"""X-HRNet's part: a weight for each row or column of the map, from attention along the other side.

Zhou et al., X-HRNet: Towards Lightweight Human Pose Estimation with Spatially Unidimensional Self-Attention, ICME 2022,
arXiv 2310.08042.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from hrnas.nets.layers import MatMul, interleave
from hrnas.reading import UserError

Side = Literal["height", "width"]


class PositionWeights(nn.Module):
    """Multiply each row of (B, C, H, W) by a learnt weight of its own; there is one for each of `longest` rows."""

    def __init__(self, longest: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, 1, longest, 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin with 1 everywhere, as released."""
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        rows, longest = x.shape[2], self.weight.shape[2]
        if rows > longest:
            raise UserError(f"susa: the map is {rows} positions long, but weights are for {longest}: raise `positions`")
        return x * self.weight[:, :, :rows]


class UnidimensionalAttention(nn.Module):
    """One weight for each channel and each position along one side (SUSA).

    along the height: the mean of all rows, each times its learnt weight -> depthwise 1x1, softmax over the columns ->
    the sum of the columns weighted so -> 1x1, layer norm over the channels, sigmoid -> multiply

    Args:
        along: `height` gives a weight to each row, `width` to each column.
        longest: the most positions along this side.
    """

    sees: ClassVar = ("mix",)
    weighs: ClassVar = ("mix", "query", "norm")

    def __init__(self, width: int, along: Side, longest: int) -> None:
        super().__init__()
        self.along = along
        self.positions = PositionWeights(longest)
        self.mix = nn.Conv2d(width, width, 1)
        self.query = nn.Conv2d(width, width, 1, groups=width)
        assert self.query.bias is not None
        self.query.bias.requires_grad_(False)  # as released it has one, which the softmax takes away again
        self.product = MatMul()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        if self.along == "height":
            return x * self._weigh(x)
        return x * self._weigh(x.transpose(2, 3)).transpose(2, 3)

    def _weigh(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, 1)."""
        query = self.query(self.positions(x).mean(dim=2, keepdim=True))
        context = self.mix(self.product(x, query.transpose(2, 3).softmax(dim=2)))
        return torch.sigmoid(self.norm(context.transpose(1, 3)).transpose(1, 3))


class ParallelAttention(nn.Module):
    """Half the channels are weighted along the height, half along the width; then shuffle (the code's PX-HRNet).

    `height` and `width` in `positions`: the most positions along each side.
    """

    def __init__(self, width: int, positions: tuple[int, int]) -> None:
        super().__init__()
        self.height = UnidimensionalAttention(width // 2, "height", positions[0])
        self.width = UnidimensionalAttention(width // 2, "width", positions[1])

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        return interleave(self.height(first), self.width(second))


def unidimensional(width: int, along: Side | Literal["both"], positions: tuple[int, int]) -> nn.Module:
    """The attention along one side, or along both; `positions` are the longest height and width of a map."""
    if along == "both":
        return ParallelAttention(width, positions)
    return UnidimensionalAttention(width, along, positions[along == "width"])
