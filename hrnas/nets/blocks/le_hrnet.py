"""LE-HRNet's parts: ghost convolutions and the blocks made of them, its attention MCAM, and its fusion CMFFM.

Liu, Gong, Guo: Lightweight and Efficient High-Resolution Network for Human Pose Estimation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from hrnas.nets.blocks.attention import mean_and_maximum
from hrnas.nets.fusion import Down, Fusion, chained
from hrnas.nets.layers import ConvNorm, MatMul, Path
from hrnas.nets.segments import Lengths, on_parts, segmented


class Ghost(nn.Module):
    """Make a share of the channels with a dense convolution, and the others from each of those by a cheap one.

    dense convolution, norm, ReLU -> y;  y -> depthwise, norm, ReLU -> z;  concatenate y and z
    Han et al., GhostNet, CVPR 2020, arXiv 1911.11907, section 3.1; figure 3 of LE-HRNet.

    Args:
        ratio: y has 1 / ratio of the outputs, which it must divide.
        primary, cheap: the two kernels.
        act: whether there are ReLUs.
    """

    sees: ClassVar = ("primary",)

    def __init__(
        self, inputs: int, outputs: int, ratio: int = 2, primary: int = 1, cheap: int = 3, act: bool = True
    ) -> None:
        super().__init__()
        dense = outputs // ratio
        self.primary = ConvNorm(inputs, dense, primary, act=act)
        self.cheap = ConvNorm(dense, outputs - dense, cheap, groups=dense, act=act)

    def forward(self, x: Tensor) -> Tensor:
        y = self.primary(x)
        return torch.cat([y, self.cheap(y)], dim=1)

    @property
    def parts(self) -> tuple[int, int]:
        """The channels that are made densely, and those that are made cheaply."""
        return self.primary.conv.out_channels, self.cheap.conv.out_channels


Convolution = Callable[..., nn.Module]  # (channels in, channels out, act=True) -> module
GhostConvolution = Callable[..., Ghost]


def ghosted(ghost: GhostConvolution) -> Path:
    """Ghost convolutions in the place of dense ones; where they stride, a depthwise 3x3 does it, as in GhostNet."""

    def convolution(inputs: int, outputs: int, stride: int, act: bool = True) -> nn.Module:
        made = ghost(inputs, outputs, act=act)
        return made if stride == 1 else nn.Sequential(ConvNorm(inputs, inputs, 3, stride, groups=inputs), made)

    return convolution


def ghost_chain(ghost: GhostConvolution) -> Down:
    """HRNet's way down, with ghost convolutions."""

    def down(widths: tuple[int, ...]) -> nn.Module:
        path = cast(nn.Sequential, chained(ghosted(ghost))(widths))
        for (_, before), (strided, after) in pairwise(cast(Iterable[tuple[ConvNorm, Ghost]], path)):
            segmented(strided, outputs=before.parts)
            on_parts(after, before.parts)
        return path

    return down


class GhostBottleneck(nn.Module):
    """x + (1x1 to a quarter of the output, ghost, 1x1 to the output)(x), then ReLU; 1x1 on x where the widths differ.

    Args:
        ghost: the middle convolution.
        outer: the two others.
    """

    def __init__(self, inputs: int, outputs: int, ghost: GhostConvolution, outer: Convolution) -> None:
        super().__init__()
        middle = outputs // 4
        self.conv1 = outer(inputs, middle, act=True)
        self.conv2 = ghost(middle, middle, act=True)
        self.conv3 = outer(middle, outputs, act=False)
        if isinstance(self.conv1, ConvNorm):  # the layers behind it have one name, whatever `outer` is
            segmented(self.conv1, outputs=self.conv2.parts)
        on_parts(self.conv2, self.conv2.parts)
        on_parts(self.conv3, self.conv2.parts)
        self.shortcut = ConvNorm(inputs, outputs) if inputs != outputs else None
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3(self.conv2(self.conv1(x)))
        return self.act(y + (x if self.shortcut is None else self.shortcut(x)))


class LEBlock(nn.Module):
    """x + (ghost, ghost without ReLUs, attention where there is one)(x), then ReLU. Figure 2."""

    def __init__(self, width: int, ghost: GhostConvolution, attention: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = ghost(width, width, act=True)
        self.conv2 = on_parts(ghost(width, width, act=False), self.conv1.parts)
        self.attention = on_parts(attention, self.conv2.parts)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return self.act(x + (y if self.attention is None else self.attention(y)))


class MultiScaleCoordinate(nn.Module):
    """MCAM: in each group of channels, weight every position.

    means of the rows    -> 1x1, sigmoid ┐
    means of the columns -> 1x1, sigmoid ┴ multiply both with x -> mean over positions -> softmax over channels ┐
    thirds of the channels -> depthwise 3x3 | 5x5 | 7x7 -> concatenate, 1x1 ─────────────────── matrix product ┴
    -> one map -> sigmoid -> multiply with x
    Figure 4, equations 4 to 10.

    Args:
        groups: divides the width, and leaves at least 3 channels in each.
        shared: all groups use one group's weights; else each has its own.
        joint: rows and columns use one 1x1 convolution.
    """

    def __init__(self, width: int, groups: int, shared: bool, joint: bool) -> None:
        super().__init__()
        group = width // groups
        self.groups = 1 if shared else groups  # those with weights of their own
        self.width = self.groups * group
        self.thirds = [group // 3, group // 3, group - 2 * (group // 3)]
        self.rows = self._pointwise()
        # Unlike the paper: equation 6 has one layer for rows and columns (`joint`); its counts need two.
        self.columns = None if joint else self._pointwise()
        self.scales = nn.ModuleList(
            self._depthwise((third,) * self.groups, kernel)
            for third, kernel in zip(self.thirds, (3, 5, 7), strict=True)
        )
        self.mix = self._pointwise()
        self.product = MatMul()

    def forward(self, x: Tensor) -> Tensor:
        pictures = x.unflatten(1, (-1, self.width)).flatten(0, 1)  # shared weights: a group is a picture of its own
        # Unlike the paper: equation 10 has the softmax before the mean; the text says "GAP and Softmax".
        shares = self._grouped(self._coordinates(pictures).mean(dim=(2, 3))).softmax(dim=2)
        maps = self._grouped(self._multi_scale(pictures)).flatten(3)
        weights = torch.sigmoid(self.product(shares.unsqueeze(2), maps))  # (pictures, groups, 1, positions)
        return (self._grouped(pictures) * weights.unflatten(3, x.shape[2:])).reshape(x.shape)

    def _coordinates(self, x: Tensor) -> Tensor:
        columns = self.rows if self.columns is None else self.columns
        of_rows = torch.sigmoid(self.rows(x.mean(dim=3, keepdim=True)))
        return x * of_rows * torch.sigmoid(columns(x.mean(dim=2, keepdim=True)))

    def _multi_scale(self, x: Tensor) -> Tensor:
        thirds = self._grouped(x).split(self.thirds, dim=2)
        seen = [self._grouped(scale(third.flatten(1, 2))) for scale, third in zip(self.scales, thirds, strict=True)]
        return self.mix(torch.cat(seen, dim=2).flatten(1, 2))

    def _pointwise(self) -> nn.Conv2d:
        """Within each group, whose channels lie in thirds."""
        convolution = nn.Conv2d(self.width, self.width, 1, groups=self.groups)
        return segmented(convolution, inputs=tuple(self.thirds), outputs=tuple(self.thirds) * self.groups)

    @staticmethod
    def _depthwise(parts: Lengths, kernel: int) -> nn.Conv2d:
        """Of one third of each group."""
        width = sum(parts)
        return segmented(nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width), outputs=parts)

    def _grouped(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.groups, -1))


class WeightedCopies(nn.Module):
    """The mean over all channels, copied as often as the target has channels, each copy with a weight from the target.

    `heard`, the target's means (B, width, 1, 1) -> fully connected, ReLU -> sigmoid (with a `reduction` above 1: fully
    connected to width / reduction, ReLU, fully connected, sigmoid).
    The ReLU lets no weight be less than 1/2: so it is printed.
    """

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, width // reduction, 1)
        self.act = nn.ReLU(inplace=True)
        self.expand = nn.Conv2d(width // reduction, width, 1) if reduction > 1 else None

    def forward(self, x: Tensor, heard: Tensor) -> Tensor:
        weights = self.act(self.reduce(heard))
        if self.expand is not None:
            weights = self.expand(weights)
        return x.mean(dim=1, keepdim=True) * torch.sigmoid(weights)


class WeightedPositions(nn.Module):
    """Mean and maximum over the channels -> 7x7 to one map -> sigmoid -> multiply: CBAM's second half."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(mean_and_maximum(x)))


class WeightedDown(nn.Module):
    """Each halving: depthwise 3x3 of stride 2, norm, weighted copies; at the end the positions are weighted.

    Equation 11, which is one halving. Each has its own fully connected layer: the counts need them.
    """

    def __init__(self, source: int, target: int, halvings: int, reduction: int) -> None:
        super().__init__()
        widths = [source] + [target] * (halvings - 1)
        self.depthwise = nn.ModuleList(ConvNorm(width, width, 3, 2, groups=width) for width in widths)
        self.copies = nn.ModuleList(WeightedCopies(target, reduction) for _ in widths)
        self.positions = WeightedPositions()

    def forward(self, x: Tensor, heard: Tensor) -> Tensor:
        for depthwise, copies in zip(self.depthwise, self.copies, strict=True):
            x = copies(depthwise(x), heard)
        return self.positions(x)


class WeightedUp(nn.Module):
    """Weighted copies, nearest upsampling; then the positions are weighted. Equation 13."""

    def __init__(self, target: int, halvings: int, reduction: int) -> None:
        super().__init__()
        self.copies = WeightedCopies(target, reduction)
        self.upsample = nn.Upsample(scale_factor=2**halvings, mode="nearest")
        self.positions = WeightedPositions()

    def forward(self, x: Tensor, heard: Tensor) -> Tensor:
        return self.positions(self.upsample(self.copies(x, heard)))


class CrossResolutionFusion(Fusion):
    """CMFFM: a source's channels become one map on the way, and the target says what each of its channels hears of it.

    Figure 5; the ReLU of the sum, as in HRNet.
    """

    def __init__(self, widths: tuple[int, ...], outputs: int, reduction: int) -> None:
        def up(source: int, target: int, halvings: int) -> nn.Module:
            return WeightedUp(target, halvings, reduction)

        def down(passed: tuple[int, ...]) -> nn.Module:
            return WeightedDown(passed[0], passed[-1], len(passed) - 1, reduction)

        super().__init__(widths, outputs, up, down)

    def _bring(self, features: list[Tensor], source: int, target: int) -> Tensor:
        if source == target:
            return features[source]
        heard = features[target].mean(dim=(2, 3), keepdim=True)
        return self.paths[f"{source}_to_{target}"](features[source], heard)
