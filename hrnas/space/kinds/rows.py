"""Rows: one block of a module, across all of its resolutions; a row keeps every shape."""

from __future__ import annotations

from math import lcm
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import Self

from hrnas.space.kinds.attention import (
    CBAM,
    Attention,
    EfficientChannel,
    GlobalContext,
    MultiScaleCoordinate,
    SqueezeExcite,
    Unweighted,
)
from hrnas.space.kinds.parts import Ghosted, Kernel, PartOptions
from hrnas.space.kinds.weightings import Cross, CrossResolution, DenseContext

Split = Literal[1, 2, 4]
Kernels = Literal[1, 2, 4, 8]


class ResidualRow(PartOptions):
    """HRNet's basic block: two convolutions and the input again; attention before the sum."""

    inner: ClassVar = ("attention",)
    kind: Literal["residual"]
    kernel: Kernel = 3
    attention: Attention = Unweighted(kind="none")


class BottleneckRow(PartOptions):
    """HRNet's bottleneck: 1x1 down to width / 4, a convolution, 1x1 up again, and the input."""

    kind: Literal["bottleneck"]
    kernel: Kernel = 3

    @property
    def width_step(self) -> int:
        return 4


class ShuffleRow(PartOptions):
    """ShuffleNetV2's unit, the block of the naive Lite-HRNet: half the channels pass, half go 1x1, depthwise, 1x1."""

    kind: Literal["shuffle"]
    kernel: Kernel = 3

    @property
    def width_step(self) -> int:
        return 2


class _HalfWeightedRow(PartOptions):
    """Half the channels pass; the others are convolved between two weightings, `cross` and `single`."""

    inner: ClassVar = ("cross", "single")

    @property
    def width_step(self) -> int:
        return 2 * super().width_step

    def seen(self, widths: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(width // 2 for width in widths)


class WeightedShuffleRow(_HalfWeightedRow):
    """Lite-HRNet's block: half the channels pass, half go cross weighting, depthwise convolution, single weighting.

    With `csw` in both places it is Lite CSW-HRNet's, with `gcw` and `gsw` Greit-HRNet's, with `susa` in both X-HRNet's.
    """

    kind: Literal["weighted_shuffle"]
    kernel: Kernel = 3
    cross: Cross = CrossResolution(kind="ccw")
    single: Attention = SqueezeExcite(kind="se")


class DynamicContextRow(_HalfWeightedRow):
    """Dite-HRNet's dynamic multi-scale context block: as the weighted shuffle row, with dynamic split convolutions.

    `groups` and `kernels` are given for each branch, the finest first. The first group of channels has a depthwise 3x3,
    the second a 5x5, and so on; each is summed up, for every picture, from as many kernels.
    """

    kind: Literal["dmc"]
    groups: tuple[Split, Split, Split, Split] = (1, 1, 2, 4)
    kernels: tuple[Kernels, Kernels, Kernels, Kernels] = (4, 4, 2, 1)
    cross: Cross = DenseContext(kind="dcm")
    single: Attention = GlobalContext(kind="gcm")

    def problems(self, widths: tuple[int, ...]) -> list[str]:
        most = self._most_groups(widths)
        return super().problems(widths) + [
            f"groups: {groups} do not divide half of branch {branch + 1}'s {width} channels: take {fit}"
            for branch, (groups, width, fit) in enumerate(zip(self.groups, widths, most, strict=False))
            if groups != fit
        ]

    def mended(self, widths: tuple[int, ...]) -> Self:
        return super().mended(widths).model_copy(update={"groups": self._most_groups(widths)})

    def canonical(self, widths: tuple[int, ...]) -> Self:
        plain, here, default = super().canonical(widths), len(widths), DynamicContextRow(kind="dmc")
        groups, kernels = plain.groups[:here] + default.groups[here:], plain.kernels[:here] + default.kernels[here:]
        return plain.model_copy(update={"groups": groups, "kernels": kernels})

    def _most_groups(self, widths: tuple[int, ...]) -> tuple[int, ...]:
        """The groups, fewer where they do not divide; those of missing branches as they are."""
        fitting = tuple(
            max(fewer for fewer in (1, 2, 4) if fewer <= groups and width // 2 % fewer == 0)
            for groups, width in zip(self.groups, widths, strict=False)
        )
        return fitting + self.groups[len(widths) :]


class LEGhostRow(Ghosted):
    """LE-HRNet's LEblock: two ghost convolutions, attention, and the input again."""

    inner: ClassVar = ("attention",)
    kind: Literal["le_ghost"]
    attention: Attention = MultiScaleCoordinate(kind="mcam")


class SplitConcatRow(PartOptions):
    """SDHRNet's SCR: two split-and-concatenate units, each with its attention, and the input again.

    A unit's second half of channels is a depthwise convolution of its first half.
    """

    inner: ClassVar = ("first", "second")
    kind: Literal["scr"]
    kernel: Kernel = 3
    first: Attention = SqueezeExcite(kind="se", bias=False)
    second: Attention = EfficientChannel(kind="eca")

    @property
    def width_step(self) -> int:
        return lcm(2, super().width_step)


class LBasicRow(PartOptions):
    """HR-LiteNet's L_basic: two depthwise-separable convolutions, the input, and the input's attention, added; ReLU."""

    inner: ClassVar = ("attention",)
    kind: Literal["l_basic"]
    kernel: Kernel = 3
    attention: Attention = CBAM(kind="cbam")


Row = Annotated[
    ResidualRow
    | BottleneckRow
    | ShuffleRow
    | WeightedShuffleRow
    | DynamicContextRow
    | LEGhostRow
    | SplitConcatRow
    | LBasicRow,
    Field(discriminator="kind"),
]
