"""Dite-HRNet's parts: convolutions that choose their kernel by the picture, and weights from the context.

Li et al., Dite-HRNet: Dynamic Lightweight High-Resolution Network for Human Pose Estimation, IJCAI 2022, arXiv
2204.10762. Where paper and released code differ, this is the code, so that it reads the same weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hrnas.nets.layers import ConvNorm, interleave


class KernelAttention(nn.Module):
    """A share between 0 and 1 for each of several kernels: pool -> 1x1 to a quarter, norm, ReLU -> 1x1, sigmoid.

    (B, C, H, W) -> (B, kernels); the shares of a picture need not sum to 1.
    """

    def __init__(self, width: int, kernels: int) -> None:
        super().__init__()
        middle = max(1, width // 4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = ConvNorm(width, middle, act=True)
        self.expand = nn.Conv2d(middle, kernels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.expand(self.reduce(self.pool(x)))).flatten(1)


class KernelAggregation(nn.Module):
    """A convolution whose kernel is, for each picture, the sum of all kernels times their shares.

    (B, inputs, H, W) and (B, kernels) -> (B, outputs, H / stride, W / stride), in one convolution for all pictures.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, kernels: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.stride = stride
        self.padding = kernel // 2
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(kernels, outputs, inputs // groups, kernel, kernel))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw each kernel as released: uniform, by the number of its inputs."""
        for kernel in self.weight:
            nn.init.kaiming_uniform_(kernel)

    def forward(self, x: Tensor, shares: Tensor) -> Tensor:
        batch = x.shape[0]
        kernels = (shares @ self.weight.flatten(1)).reshape(batch * self.outputs, *self.weight.shape[2:])
        together = x.reshape(1, -1, *x.shape[2:])  # the pictures are groups of one picture's channels
        y = functional.conv2d(together, kernels, None, self.stride, self.padding, groups=batch * self.groups)
        return y.reshape(batch, self.outputs, *y.shape[2:])


class DynamicConvNorm(nn.Module):
    """Dynamic kernel aggregation: share out the kernels, convolve with their sum, norm, and ReLU where wanted."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        kernels: int = 4,
        act: bool = False,
    ) -> None:
        super().__init__()
        self.attention = KernelAttention(inputs, kernels)
        self.conv = KernelAggregation(inputs, outputs, kernel, stride, groups, kernels)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU(inplace=True) if act else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x, self.attention(x)))
        return x if self.act is None else self.act(x)


class DynamicSplitConv(nn.Module):
    """Split the channels into groups, convolve the first 3x3 depthwise, the next 5x5, ..., norm; then shuffle them.

    With several kernels each group's convolution aggregates its own.
    """

    def __init__(self, width: int, groups: int, kernels: int) -> None:
        super().__init__()
        self.groups = groups
        part = width // groups
        self.convs = nn.ModuleList(_depthwise(part, 2 * index + 3, kernels) for index in range(groups))

    def forward(self, x: Tensor) -> Tensor:
        parts = x.chunk(self.groups, dim=1)
        return interleave(*(conv(part) for conv, part in zip(self.convs, parts, strict=True)))


class DenseContext(nn.Module):
    """Weight each channel at each position of the coarsest map, from what every resolution holds there and attends to.

    all but the coarsest: 1x1 to one map, softmax over all positions -> sum the features by it, cell by cell;
    concatenate with the coarsest -> 1x1, norm, ReLU -> 1x1, sigmoid -> split, upsample, multiply
    """

    def __init__(self, widths: tuple[int, ...], reduction: int) -> None:
        super().__init__()
        self.widths = list(widths)
        total = sum(widths)
        # as released: one mask for each resolution, though the coarsest needs none; a mask's bias is lost in the softmax
        self.masks = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in widths)
        self.reduce = ConvNorm(total, total // reduction, act=True)
        self.expand = nn.Conv2d(total // reduction, total, 1)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        *finer, coarsest = features
        pooled = [_gather(x, mask(x), coarsest) for x, mask in zip(finer, self.masks, strict=False)]
        context = torch.cat([*pooled, coarsest], dim=1)
        weights = torch.sigmoid(self.expand(self.reduce(context))).split(self.widths, dim=1)
        factors = [2.0**step for step in reversed(range(len(features)))]
        return [
            x * functional.interpolate(w, scale_factor=f, mode="nearest")
            for x, w, f in zip(features, weights, factors, strict=True)
        ]

    def dead_parameters(self) -> set[str]:
        """The coarsest resolution's mask, which nobody asks."""
        last = len(self.widths) - 1
        return {f"masks.{last}.weight", f"masks.{last}.bias"}


def _gather(x: Tensor, mask: Tensor, coarsest: Tensor) -> Tensor:
    """Sum a feature (B, C, H, W) by a mask (B, 1, H, W) to the coarsest map's size (B, C, h, w)."""
    batch, width = x.shape[:2]
    shares = mask.flatten(2).softmax(dim=2)
    # Unlike the paper: the code cuts memory into h x w runs, not the map into cells. Run k of the mask is a strip of a
    # row; run k of the features is mostly a few whole channels. Weights trained so need it so.
    cells = coarsest.shape[2] * coarsest.shape[3]
    sums = x.reshape(batch, cells, width, -1) @ shares.reshape(batch, cells, -1, 1)
    return sums.transpose(1, 2).reshape(batch, width, *coarsest.shape[2:])


class GlobalContext(nn.Module):
    """Weight every channel of one resolution, from its sum over all positions by a learnt attention.

    1x1 to one map, softmax -> sum of the features by it -> 1x1, norm, ReLU -> 1x1, sigmoid -> multiply, norm
    """

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.mask = nn.Conv2d(width, 1, 1)
        self.reduce = ConvNorm(width, width // reduction, act=True)
        self.expand = nn.Conv2d(width // reduction, width, 1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        shares = self.mask(x).flatten(2).softmax(dim=2)
        context = x.flatten(2) @ shares.transpose(1, 2)
        weights = torch.sigmoid(self.expand(self.reduce(context.unsqueeze(3))))
        return self.norm(x * weights)


class DynamicStem(nn.Module):
    """Dite-HRNet: a 3x3 convolution of stride 2, then the dynamic global context block. (B, 3, H, W) -> (B, width, H/4, W/4).

    first half: depthwise of stride 2, global context, 1x1; second half: depthwise, global context, 1x1 to a quarter,
    1x1 back, depthwise of stride 2; all of them dynamic; then shuffle
    """

    def __init__(self, width: int, kernels: int, reduction: int) -> None:
        super().__init__()
        half = width // 2
        self.conv = ConvNorm(3, width, 3, stride=2, act=True)
        self.first = nn.Sequential(
            _depthwise(half, 3, kernels, stride=2),
            GlobalContext(half, reduction),
            _dynamic(half, half, kernels=kernels, act=True),
        )
        self.second = nn.Sequential(
            _depthwise(half, 3, kernels),
            GlobalContext(half, reduction),
            _dynamic(half, half // 4, kernels=kernels, act=True),
            _dynamic(half // 4, half, kernels=kernels),
            _depthwise(half, 3, kernels, stride=2, act=True),
        )

    def forward(self, image: Tensor) -> Tensor:
        first, second = self.conv(image).chunk(2, dim=1)
        return interleave(self.first(first), self.second(second))


def _depthwise(width: int, kernel: int, kernels: int, stride: int = 1, act: bool = False) -> nn.Module:
    return _dynamic(width, width, kernel, stride, width, kernels, act)


def _dynamic(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, kernels: int = 1, act: bool = False
) -> nn.Module:
    """A convolution and norm with as many kernels to choose from; one kernel leaves nothing to choose."""
    if kernels == 1:
        return ConvNorm(inputs, outputs, kernel, stride, groups, act)
    return DynamicConvNorm(inputs, outputs, kernel, stride, groups, kernels, act)
