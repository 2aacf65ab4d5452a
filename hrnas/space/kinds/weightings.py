"""Cross weightings: weights for the channels of all resolutions, seen from several of them at once.

X-HRNet has a weighting of each resolution alone (`susa`) in this place.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import Self

from hrnas.space.kinds.attention import Unidimensional, Unweighted
from hrnas.space.kinds.parts import Kernel, OverChannels, Reducing, Reduction


class CrossResolution(Reducing):
    """Lite-HRNet: one weight per channel and position of the coarsest map, from all channels at that position."""

    kind: Literal["ccw"]
    reduction: Reduction = 8

    def reduced(self, widths: tuple[int, ...]) -> tuple[int, ...]:
        return (sum(widths),)


class CrossChannelSpatial(OverChannels):
    """Lite CSW-HRNet: a weight per channel times one per position, of all resolutions pooled to the coarsest.

    `kernel`, `gamma`, `offset` and `order` as in the attention `csw`.
    """

    kind: Literal["csw"]
    kernel: Kernel = 7
    order: Literal["parallel", "series"] = "parallel"

    def convolved(self, widths: tuple[int, ...]) -> tuple[int, ...]:
        return (sum(widths),)


class GroupedCross(Reducing):
    """Greit-HRNet's GCW: as `ccw`, `stack` times one after the other, in groups of resolutions that are near.

    `groups`: the two finest and the two coarsest branches (`pairs`), or `all` in one.
    """

    kind: Literal["gcw"]
    reduction: Reduction = 8
    groups: Literal["pairs", "all"] = "pairs"
    stack: Annotated[int, Field(ge=1, le=4)] = 2

    def reduced(self, widths: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sum(group) for group in self.grouped(widths))

    def grouped(self, widths: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The widths of each group's branches."""
        size = 2 if self.groups == "pairs" else len(widths)
        return [widths[start : start + size] for start in range(0, len(widths), size)]

    def canonical(self, widths: tuple[int, ...]) -> Self:
        plain = super().canonical(widths)
        return plain.model_copy(update={"groups": "pairs"}) if len(widths) <= 2 else plain


class DenseContext(Reducing):
    """Dite-HRNet's DCM: as `ccw`, but the finer resolutions come to the coarsest size by an attention to positions."""

    kind: Literal["dcm"]
    reduction: Reduction = 8

    def reduced(self, widths: tuple[int, ...]) -> tuple[int, ...]:
        return (sum(widths),)


Cross = Annotated[
    CrossResolution | CrossChannelSpatial | GroupedCross | DenseContext | Unidimensional | Unweighted,
    Field(discriminator="kind"),
]
