"""Heads: from the last module's outputs, and the stem's, to one heatmap per keypoint."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hrnas.reading import Options
from hrnas.space.kinds.fusions import Outputs
from hrnas.space.kinds.parts import Width

PRINTED = (1, 6, 12, 18)  # DASP's dilations


class HeadOptions(Options):
    """What every head can be asked."""

    reads: ClassVar[Outputs] = "first"  # which of the features
    kind: str

    @property
    def label(self) -> str:
        """The name inside parameters' names."""
        return self.kind


class ConvHead(HeadOptions):
    """HRNet: a 1x1 convolution on the finest output."""

    kind: Literal["conv"]


class IterativeHead(HeadOptions):
    """Lite-HRNet: from the coarsest output upwards, depthwise-separable convolution, upsample, add; then 1x1."""

    kind: Literal["iterative"]
    reads: ClassVar[Outputs] = "all"


class DASPHead(HeadOptions):
    """SDHRNet's DASP: dense dilated convolutions on the finest output, joined by the stem's output; then 1x1.

    Each of the `dilations` adds `growth` channels; everything is brought to `width` before and after the joining.
    """

    kind: Literal["dasp"]
    growth: Width = 8
    dilations: Annotated[tuple[Annotated[int, Field(ge=1, le=36)], ...], Field(min_length=1)] = PRINTED
    width: Width = 32

    @property
    def label(self) -> str:
        # each dilation's channels mean something else
        return "dasp" if self.dilations == PRINTED else f"dasp_{'_'.join(map(str, self.dilations))}"


class SimCCHead(HeadOptions):
    """SimCC: two distributions for each keypoint, over x and over y, of `split` bins for each input pixel."""

    kind: Literal["simcc"]
    split: Annotated[int, Field(ge=1, le=4)] = 2


Head = Annotated[ConvHead | IterativeHead | DASPHead | SimCCHead, Field(discriminator="kind")]
