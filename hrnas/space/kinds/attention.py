"""Attention: weights for the channels or positions of one resolution, in rows that have a place for it."""

from __future__ import annotations

from math import gcd
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import Self

from hrnas.space.kinds.parts import Kernel, OverChannels, PartOptions, Reducing, Reduction, Width


class Unweighted(PartOptions):
    """No weighting in this place."""

    kind: Literal["none"]


class SqueezeExcite(Reducing):
    """One weight per channel, from its mean over all positions: 1x1 down, ReLU, 1x1 up, sigmoid.

    Lite-HRNet's spatial weighting; Hu et al., CVPR 2018. `bias`: of the two layers (SDHRNet's have none).
    """

    kind: Literal["se"]
    reduction: Reduction = 4
    bias: bool = True


class EfficientChannel(OverChannels):
    """One weight per channel, from the means of its neighbours in the order of channels: a 1D convolution, sigmoid.

    ECA: Wang et al., CVPR 2020, arXiv 1910.03151.
    """

    kind: Literal["eca"]


class CBAM(Reducing):
    """A weight per channel (from mean and maximum over positions), then one per position (over channels).

    Woo et al., ECCV 2018, arXiv 1807.06521. `kernel` is the convolution over positions.
    """

    kind: Literal["cbam"]
    reduction: Reduction = 16
    kernel: Kernel = 7


class Coordinate(PartOptions):
    """A weight per channel and row, and one per channel and column. Hou et al., CVPR 2021, arXiv 2103.02907."""

    kind: Literal["coordinate"]
    reduction: Reduction = 32

    def middle(self, width: int) -> int:
        """The channels of the layer between."""
        return max(8, width // self.reduction)

    def canonical(self, widths: tuple[int, ...]) -> Self:
        spellings = (self.model_copy(update={"reduction": reduction}) for reduction in range(1, 65))
        return next(each for each in spellings if all(each.middle(w) == self.middle(w) for w in widths))


class MultiScaleCoordinate(PartOptions):
    """LE-HRNet's multi-scale coordinate attention: in each of `groups` of channels, one weight per position.

    `shared`: all groups use one group's weights. `joint`: rows and columns use one 1x1 convolution, as the paper's text
    has it; its counts need two.
    """

    kind: Literal["mcam"]
    groups: Literal[1, 2, 4, 8] = 4
    shared: bool = False
    joint: bool = False

    @property
    def label(self) -> str:
        return f"mcam_groups{self.groups}" + ("_shared" if self.shared else "")

    @property
    def width_step(self) -> int:
        return max(4, self.groups)  # with 4 channels there is always a number of groups that leaves enough

    def problems(self, widths: tuple[int, ...]) -> list[str]:
        most = _groups(widths)
        if self.groups <= most:
            return []
        return [f"groups: {self.groups} do not divide {min(widths)} channels into 3 or more each: take {most} or less"]

    def mended(self, widths: tuple[int, ...]) -> Self:
        return self.model_copy(update={"groups": min(self.groups, _groups(widths))})

    def canonical(self, widths: tuple[int, ...]) -> Self:
        return self.model_copy(update={"shared": False}) if self.groups == 1 else self


class ChannelSpatial(OverChannels):
    """Lite CSW-HRNet's single-resolution weighting: a weight per channel times one per position.

    `kernel` is the convolution over positions, `gamma` and `offset` give that over channels as in `eca`. `order`: both
    see the input (`parallel`, as the text argues), or the positions what the channels' weights leave (`series`, as
    equation 12 has it).
    """

    kind: Literal["csw"]
    kernel: Kernel = 7
    order: Literal["parallel", "series"] = "parallel"


class GlobalSpatial(Reducing):
    """Greit-HRNet's GSW: channels are summed with one weight per position, then squeezed and excited.

    `width` is the layer that makes the positions' weights. `normalise`: divide the sum by the number of positions, so
    that weights do not grow with the picture; the paper does not.
    """

    kind: Literal["gsw"]
    width: Width = 16
    reduction: Reduction = 8
    normalise: bool = False


class GlobalContext(PartOptions):
    """Dite-HRNet's GCM: one weight per channel, from its sum over all positions by an attention to them.

    `reduction` is that of up to 64 channels, `wide_reduction` that of more: as released, on the two finest branches and
    on the others.
    """

    kind: Literal["gcm"]
    reduction: Reduction = 4
    wide_reduction: Reduction = 8

    def reduction_of(self, width: int) -> int:
        """The reduction at this number of channels."""
        return self.wide_reduction if width > 64 else self.reduction

    def problems(self, widths: tuple[int, ...]) -> list[str]:
        least = min(widths)
        if self.reduction_of(least) <= least:
            return []
        return [f"reduction: {self.reduction} leaves no channel of {least}: take {least} or less"]

    def mended(self, widths: tuple[int, ...]) -> Self:
        return self.model_copy(update={"reduction": min(self.reduction, *widths)})

    def canonical(self, widths: tuple[int, ...]) -> Self:
        narrow, wide = [w for w in widths if w <= 64], [w for w in widths if w > 64]
        return self.model_copy(
            update={
                "reduction": _plainest(self.reduction, narrow, default=4),
                "wide_reduction": _plainest(self.wide_reduction, wide, default=8),
            }
        )


class Unidimensional(PartOptions):
    """X-HRNet's SUSA: a weight per channel and row, from attention to the columns, or the other way round.

    `along`: `height` weighs the rows, `width` the columns, `both` half of the channels in each way (PX-HRNet).
    `positions`: the longest (height, width) of a map, each row (column) of which has a learnt weight: as released, of
    the finest map of a 384x288 picture.
    """

    kind: Literal["susa"]
    along: Literal["height", "width", "both"] = "height"
    positions: tuple[Width, Width] = (96, 72)

    @property
    def label(self) -> str:
        return f"susa_{self.along}"

    @property
    def width_step(self) -> int:
        return 4 if self.along == "both" else 2  # its layer norm says nothing of a single channel

    def canonical(self, widths: tuple[int, ...]) -> Self:
        height, width = self.positions
        heard = {"height": (height, 72), "width": (96, width), "both": self.positions}
        return self.model_copy(update={"positions": heard[self.along]})


Attention = Annotated[
    Unweighted
    | SqueezeExcite
    | EfficientChannel
    | CBAM
    | Coordinate
    | MultiScaleCoordinate
    | ChannelSpatial
    | GlobalSpatial
    | GlobalContext
    | Unidimensional,
    Field(discriminator="kind"),
]


def _plainest(reduction: int, widths: list[int], default: int) -> int:
    """The least reduction that leaves as many channels of each width; without any width the default."""
    if not widths:
        return default
    kept = [width // reduction for width in widths]
    return next(r for r in range(1, 65) if [width // r for width in widths] == kept)


def _groups(widths: tuple[int, ...]) -> int:
    """The most groups that divide every width and leave 3 channels each."""
    return max(groups for groups in (1, 2, 4, 8) if gcd(*widths) % groups == 0 and min(widths) // groups >= 3)
