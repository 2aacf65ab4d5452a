"""Dite-HRNet's parts: convolutions whose kernels depend on the picture, and weights from the context.

Li et al., Dite-HRNet: Dynamic Lightweight High-Resolution Network for Human Pose Estimation, IJCAI 2022, arXiv
2204.10762. Where the paper leaves something open, this is the released code, whose weights these parts can read.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from hrnas.nets.layers import ConvNorm, MatMul, interleave
from hrnas.nets.segments import segmented


class KernelAttention(nn.Module):
    """A share of each kernel for each picture: pool -> 1x1 to a quarter, norm, ReLU -> 1x1, sigmoid.

    (B, C, H, W) -> (B, kernels), each between 0 and 1; they need not sum to 1.
    """

    def __init__(self, width: int, kernels: int) -> None:
        super().__init__()
        middle = max(1, width // 4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = ConvNorm(width, middle, act=True)
        self.expand = nn.Conv2d(middle, kernels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.expand(self.reduce(self.pool(x)))).flatten(1)


class KernelMixture(nn.Module):
    """One kernel for each picture, the sum of all kernels times its shares.

    (B, kernels) -> (B * outputs, inputs, kernel, kernel); `inputs` are those of one group.
    """

    def __init__(self, kernels: int, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(kernels, outputs, inputs, kernel, kernel))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw each kernel as released: uniform, by the number of its inputs."""
        for kernel in self.weight:
            nn.init.kaiming_uniform_(kernel)

    def forward(self, shares: Tensor) -> Tensor:
        return (shares @ self.weight.flatten(1)).reshape(-1, *self.weight.shape[2:])


class PictureConv(nn.Module):
    """A convolution that keeps the size (or halves it), with a kernel of its own for each picture.

    (B, inputs, H, W) and (B * outputs, inputs / groups, kernel, kernel) -> (B, outputs, H / stride, W / stride)
    """

    def __init__(self, inputs: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        self.taps = inputs // groups * kernel**2  # multiplications for each output
        self.padding = kernel // 2
        self.stride = stride
        self.groups = groups

    def forward(self, x: Tensor, kernels: Tensor) -> Tensor:
        batch = x.shape[0]
        joined = x.flatten(0, 1).unsqueeze(0)  # one picture, in which each picture is a group of channels
        y = functional.conv2d(joined, kernels, None, self.stride, self.padding, groups=batch * self.groups)
        return y.squeeze(0).unflatten(0, (batch, -1))


class DynamicConvNorm(nn.Module):
    """Dynamic kernel aggregation: attend to kernels -> convolve with the sum of them, norm, and ReLU where wanted."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, kernels: int, act: bool
    ) -> None:
        super().__init__()
        self.attention = KernelAttention(inputs, kernels)
        self.mixture = KernelMixture(kernels, inputs // groups, outputs, kernel)
        self.conv = PictureConv(inputs, kernel, stride, groups)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU(inplace=True) if act else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x, self.mixture(self.attention(x))))
        return x if self.act is None else self.act(x)


class DynamicSplitConv(nn.Module):
    """Split the channels into groups; depthwise 3x3 for the first, 5x5 for the second, and so on, norm; then shuffle.

    With several kernels, each group's convolution is dynamic.
    """

    def __init__(self, width: int, groups: int, kernels: int) -> None:
        super().__init__()
        self.groups = groups
        each = width // groups
        self.convs = nn.ModuleDict(
            {f"{group}_of_{groups}": _depthwise(each, 2 * group + 3, kernels) for group in range(groups)}
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = x.chunk(self.groups, dim=1)
        return interleave(*(conv(part) for conv, part in zip(self.convs.values(), parts, strict=True)))


class DenseContext(nn.Module):
    """Weight each channel at each position of the coarsest map, from the context of all resolutions (DCM).

    each finer resolution: 1x1 to one channel, softmax over all positions -> its sum weighted so, to the coarsest size;
    concatenate with the coarsest -> 1x1, norm, ReLU -> 1x1, sigmoid -> split, upsample, multiply
    """

    def __init__(self, widths: tuple[int, ...], reduction: int) -> None:
        super().__init__()
        self.widths = list(widths)
        total = sum(widths)
        self.masks = nn.ModuleList(_mask(width) for width in widths)
        self.masks[-1].requires_grad_(False)  # as released: the coarsest has a mask too, which nobody asks
        self.product = MatMul()
        self.reduce = segmented(ConvNorm(total, total // reduction, act=True), inputs=widths)
        self.expand = segmented(nn.Conv2d(total // reduction, total, 1), outputs=widths)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        *finer, coarsest = features
        factors = [2**step for step in reversed(range(len(features)))]
        pooled = [self._pool(x, mask(x), f, coarsest) for x, mask, f in zip(finer, self.masks, factors, strict=False)]
        weights = torch.sigmoid(self.expand(self.reduce(torch.cat([*pooled, coarsest], dim=1))))
        return [
            x * functional.interpolate(w, scale_factor=float(f), mode="nearest")
            for x, w, f in zip(features, weights.split(self.widths, dim=1), factors, strict=True)
        ]

    def _pool(self, x: Tensor, mask: Tensor, factor: int, coarsest: Tensor) -> Tensor:
        """Sum (B, C, H, W) by a mask (B, 1, H, W) to (B, C, h, w), the coarsest size."""
        batch, width = x.shape[:2]
        # Unlike the paper: as released, not the map is cut into h * w cells but its memory into as many equal runs: a
        # run of the mask is a strip of positions, a run of the features holds a few channels.
        run = factor**2
        shares = mask.flatten(1).softmax(dim=1).reshape(batch, -1, run, 1)
        sums = self.product(x.reshape(batch, -1, width, run), shares)
        return sums.transpose(1, 2).reshape(batch, width, *coarsest.shape[2:])


class GlobalContext(nn.Module):
    """Weight every channel of one resolution, from its context (GCM).

    1x1 to one channel, softmax over all positions -> the sum weighted so -> 1x1, norm, ReLU -> 1x1, sigmoid -> multiply
    -> norm
    """

    sees: ClassVar = ("mask", "reduce")
    weighs: ClassVar = ("expand", "norm")

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.mask = _mask(width)
        self.product = MatMul()
        self.reduce = ConvNorm(width, width // reduction, act=True)
        self.expand = nn.Conv2d(width // reduction, width, 1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        shares = self.mask(x).flatten(1).softmax(dim=1).unsqueeze(2)
        context = self.product(x.flatten(2), shares).unsqueeze(3)
        return self.norm(x * torch.sigmoid(self.expand(self.reduce(context))))


class DynamicStem(nn.Module):
    """A 3x3 convolution of stride 2, then the dynamic global context block. (B, 3, H, W) -> (B, out, H/4, W/4).

    The block's first half goes depthwise of stride 2, global context, 1x1; its second half depthwise, global context,
    1x1 to a quarter, 1x1 back, depthwise of stride 2. All of its convolutions are dynamic. Then shuffle.
    """

    def __init__(self, out: int, kernels: int, reduction: int) -> None:
        super().__init__()
        half = out // 2
        self.conv = segmented(ConvNorm(3, out, 3, stride=2, act=True), outputs=(half, half))
        self.first = nn.Sequential(
            _depthwise(half, 3, kernels, stride=2),
            GlobalContext(half, reduction),
            _dynamic(half, half, kernels, act=True),
        )
        self.second = nn.Sequential(
            _depthwise(half, 3, kernels),
            GlobalContext(half, reduction),
            _dynamic(half, half // 4, kernels, act=True),
            _dynamic(half // 4, half, kernels),
            _depthwise(half, 3, kernels, stride=2, act=True),
        )

    def forward(self, image: Tensor) -> Tensor:
        first, second = self.conv(image).chunk(2, dim=1)
        return interleave(self.first(first), self.second(second))


def _mask(width: int) -> nn.Conv2d:
    mask = nn.Conv2d(width, 1, 1)
    assert mask.bias is not None
    mask.bias.requires_grad_(False)  # as released it has one, which the softmax takes away again
    return mask


def _depthwise(width: int, kernel: int, kernels: int, stride: int = 1, act: bool = False) -> nn.Module:
    return _dynamic(width, width, kernels, kernel, stride, groups=width, act=act)


def _dynamic(
    inputs: int, outputs: int, kernels: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = False
) -> nn.Module:
    """A convolution that attends to its kernels where there is a choice."""
    if kernels == 1:
        return ConvNorm(inputs, outputs, kernel, stride, groups, act)
    return DynamicConvNorm(inputs, outputs, kernel, stride, groups, kernels, act)
