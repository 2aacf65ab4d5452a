"""The small parts that all networks share.

Shapes: a feature is `(batch, channels, height, width)`; features of several resolutions are a list, finest first, each
half the height and width of the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)
Path = Callable[[int, int, int], nn.Module]  # (channels in, channels out, stride) -> module


class ConvNorm(nn.Module):
    """Convolution without bias that keeps the size (or halves it), batch norm, and ReLU where wanted."""

    sees: ClassVar = ("conv",)  # the layers that read the input's channels, for `hrnas/nets/segments.py`

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: bool = False,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU(inplace=True) if act else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return x if self.act is None else self.act(x)


class SeparableConv(nn.Module):
    """Depthwise convolution, norm; 1x1 convolution, norm; ReLU after the second, and `between` them, where wanted."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, act: bool = True, between: bool = False
    ) -> None:
        super().__init__()
        self.depthwise = ConvNorm(inputs, inputs, kernel, stride, groups=inputs, act=between)
        self.pointwise = ConvNorm(inputs, outputs, act=act)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class Lifted(nn.ModuleList):
    """One block per resolution, which do not hear of each other, as a row."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__(blocks)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [block(x) for block, x in zip(self, features, strict=True)]


class Slot(nn.Module):
    """A place that one of several kinds fills; its label is part of its parameters' names, so that no two share one."""

    def __init__(self, label: str, module: nn.Module) -> None:
        super().__init__()
        self.label = label
        self.add_module(label, module)

    @property
    def module(self) -> nn.Module:
        """What fills the place."""
        return cast(nn.Module, getattr(self, self.label))

    def forward(self, *inputs: object) -> object:
        return getattr(self, self.label)(*inputs)


class MatMul(nn.Module):
    """Matrix product of (..., n, k) and (..., k, m); a module, so that costs see it."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.matmul(a, b)


class Scale(nn.Module):
    """All of x times one number, which is learnt and starts at 0: what it scales comes in little by little."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def reset_parameters(self) -> None:
        """Start at 0 again."""
        nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x


def interleave(*parts: Tensor) -> Tensor:
    """Concatenate equally wide features and shuffle their channels: first 0, second 0, ..., first 1, second 1, ..."""
    return torch.stack(parts, dim=2).flatten(1, 2)


def released_twice(module: Module) -> Module:
    """Mark layers that the authors' code computes twice in one pass, and ours once, with the same result.

    Published operation counts that see every call count such a layer twice; see `hrnas/nets/cost.py`.
    """
    for layer in module.modules():
        layer.released_calls = 2  # type: ignore[assignment]
    return module
