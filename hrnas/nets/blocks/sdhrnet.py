"""SDHRNet's row (SCR), context (SEM) and head (DASP).

Li et al., Lightweight Multi-Resolution Network for Human Pose Estimation, Computer Modeling in Engineering & Sciences
138(3), 2024, https://doi.org/10.32604/cmes.2023.030677.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hrnas.nets.layers import ConvNorm, MatMul, Scale
from hrnas.nets.segments import on_parts, segmented


class SplitConcat(nn.Module):
    """Make half of the channels by a dense convolution and the rest of them out of that half, then weight them all: SC.

    conv to half the channels, norm, ReLU ─┬───────────────────────┐
                                           └ depthwise, norm, ReLU ┴ concatenate -> attention -> norm
    Figure 5, equations 1 to 7.

    Args:
        attention: on all channels, or None.
    """

    def __init__(self, width: int, kernel: int, attention: nn.Module | None) -> None:
        super().__init__()
        half = width // 2
        self.conv = ConvNorm(width, half, kernel, act=True)
        self.depthwise = ConvNorm(half, half, kernel, groups=half, act=True)
        self.attention = on_parts(attention, (half, half))
        # Unlike the paper: it has no norm here; but it puts these units where HRNet has a convolution and its norm, and
        # only with them the printed weights are met
        self.norm = segmented(nn.BatchNorm2d(width), outputs=(half, half))

    def forward(self, x: Tensor) -> Tensor:
        half = self.conv(x)
        both = torch.cat([half, self.depthwise(half)], dim=1)
        return self.norm(both if self.attention is None else self.attention(both))


class SplitConcatResidual(nn.Module):
    """x + (SC, ReLU, SC)(x), then ReLU: the encoder SCR (figure 4), in the place of HRNet's basic block.

    Args:
        first, second: attention of the first and of the second unit, or None.
    """

    def __init__(self, width: int, kernel: int, first: nn.Module | None, second: nn.Module | None) -> None:
        super().__init__()
        self.first = SplitConcat(width, kernel, first)
        self.second = SplitConcat(width, kernel, second)
        segmented(self.second.conv, inputs=(width // 2, width // 2))
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.second(self.act(self.first(x))))


class SemanticEnhancement(nn.Module):
    """Every channel hears of its neighbours, and every position of every other: SEM (figure 6, equations 15 to 17).

    channels: mean over positions -> 1D convolution over channels -> hard sigmoid -> multiply with x
    positions: 1x1 to queries, keys and values -> softmax of the query here times the keys everywhere -> sum of the
    values by it -> times a number that starts at 0 -> add to x
    Both are summed.

    The softmax has as many entries as positions squared: at the finest branch of a 384x288 picture 48 million.

    Args:
        reduction: of the queries' and keys' channels.
        kernel: of the convolution over channels, odd.
    """

    def __init__(self, width: int, reduction: int, kernel: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)
        self.gate = nn.Hardsigmoid()
        self.query = nn.Conv2d(width, width // reduction, 1)
        self.key = nn.Conv2d(width, width // reduction, 1, bias=False)  # the softmax would lose a bias
        self.value = nn.Conv2d(width, width, 1)
        self.softmax = nn.Softmax(dim=-1)
        self.product = MatMul()
        self.scale = Scale()

    def forward(self, x: Tensor) -> Tensor:
        return self._channels(x) + self._positions(x)

    def _channels(self, x: Tensor) -> Tensor:
        means = self.pool(x).flatten(1).unsqueeze(1)  # (batch, 1, channels)
        return x * self.gate(self.conv(means)).transpose(1, 2).unsqueeze(3)

    def _positions(self, x: Tensor) -> Tensor:
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        shares = self.softmax(self.product(query.transpose(1, 2), key))  # (batch, position, position that it hears)
        return x + self.scale(self.product(value, shares.transpose(1, 2)).reshape(x.shape))


class DenseAtrousHead(nn.Module):
    """Dilated convolutions that each see all before, joined by the stem's output: DASP (figure 7, equations 18 and 19).

    finest features -> for each dilation: 3x3 on all there is so far, which its `growth` channels then join
                    -> 1x1 to `width` ┐
    stem's output   -> 1x1 to `width` ┴ concatenate -> 1x1 to `width` -> 1x1 to the heatmaps
    A norm and a ReLU follow every convolution but the last.
    """

    def __init__(
        self, inputs: int, stem: int, keypoints: int, growth: int, dilations: tuple[int, ...], width: int
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            segmented(
                ConvNorm(inputs + index * growth, growth, 3, act=True, dilation=dilation),
                inputs=(*[growth] * index, inputs),
            )
            for index, dilation in enumerate(dilations)
        )
        self.dense = segmented(
            ConvNorm(inputs + len(dilations) * growth, width, act=True), inputs=(*[growth] * len(dilations), inputs)
        )
        self.low = ConvNorm(stem, width, act=True)
        self.joined = segmented(ConvNorm(2 * width, width, act=True), inputs=(width, width))
        self.final = nn.Conv2d(width, keypoints, 1)

    def forward(self, features: list[Tensor], stem: Tensor) -> Tensor:
        y = features[0]
        for layer in self.layers:
            y = torch.cat([layer(y), y], dim=1)  # the newest first, as in equation 18
        return self.final(self.joined(torch.cat([self.low(stem), self.dense(y)], dim=1)))
