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
        return f"mcam_groups{self.groups}"

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


Attention = Annotated[
    Unweighted
    | SqueezeExcite
    | EfficientChannel
    | CBAM
    | Coordinate
    | MultiScaleCoordinate
    | ChannelSpatial
    | GlobalSpatial,
    Field(discriminator="kind"),
]


def _groups(widths: tuple[int, ...]) -> int:
    """The most groups that divide every width and leave 3 channels each."""
    return max(groups for groups in (1, 2, 4, 8) if gcd(*widths) % groups == 0 and min(widths) // groups >= 3)
