"""Fusions end a module: every resolution hears of every other. Transitions begin a stage with one branch more."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import Self

from hrnas.space.kinds.parts import Ghosted, PartOptions, Reducing, Reduction

Outputs = Literal["all", "first"]  # of the network's last module; every other one has all of them


class FullFusion(PartOptions):
    """HRNet: dense 3x3 convolutions of stride 2 downwards, 1x1 and nearest upsampling upwards, sum, ReLU."""

    kind: Literal["full"]
    outputs: Outputs = "all"


class LiteFusion(PartOptions):
    """Lite-HRNet: as the full fusion, with depthwise-separable convolutions downwards.

    `double_add` is what the released code does: branch 0 is added twice, and the other branches hear the fused branch 0
    instead of its input (HRNet/Lite-HRNet, issue 64). `false` is the plain sum of the paper. `hears`: what of the fused
    branch 0 they hear then, its `sum`, or its `output` after the ReLU, as in Dite-HRNet's code.
    """

    kind: Literal["lite"]
    double_add: bool = True
    hears: Literal["sum", "output"] = "sum"
    outputs: Outputs = "all"

    def canonical(self, widths: tuple[int, ...]) -> Self:
        return self if self.double_add else self.model_copy(update={"hears": "sum"})


class SeparableFusion(PartOptions):
    """HR-LiteNet: depthwise-separable convolutions both ways, with a ReLU after each convolution; sum, ReLU.

    The paper does not say how it fuses, but HRNet's dense convolutions would be too large. `chain`: the width between
    the steps downwards: that of each branch passed (`next`), or of the source (`same`) as in HRNet. `up`: a
    depthwise-separable convolution, or a 1x1 (`pointwise`) as in HRNet. The defaults come nearest to its parameters.
    """

    kind: Literal["separable"]
    chain: Literal["next", "same"] = "next"
    up: Literal["separable", "pointwise"] = "separable"
    outputs: Outputs = "all"

    def steps(self, passed: tuple[int, ...]) -> tuple[int, ...]:
        """The widths on the way down, from those of the branches from the source to the target."""
        return passed if self.chain == "next" else (*(passed[0] for _ in passed[1:]), passed[-1])

    def canonical(self, widths: tuple[int, ...]) -> Self:
        uniform = len(set(widths[:-1])) == 1  # no step on any way has a choice
        return self.model_copy(update={"chain": "next"}) if uniform else self


class GhostFusion(Ghosted):
    """As the full fusion, with ghost convolutions; where they stride, after a depthwise 3x3, as in GhostNet."""

    kind: Literal["ghost"]
    outputs: Outputs = "all"


class CrossResolutionFusion(Reducing):
    """LE-HRNet's CMFFM, the cross-resolution multi-scale feature fusion module.

    One map stands for all channels of a source; weights from the target make channels of it again. `reduction`: of the
    two layers that make the weights of a step; 1, as printed, is a single layer.
    """

    kind: Literal["cmffm"]
    reduction: Reduction = 1
    outputs: Outputs = "all"


Fusion = Annotated[
    FullFusion | LiteFusion | SeparableFusion | GhostFusion | CrossResolutionFusion, Field(discriminator="kind")
]


class ConvTransition(PartOptions):
    """HRNet: a dense 3x3 convolution for each new branch, and where the width changes."""

    kind: Literal["conv"]


class LiteTransition(PartOptions):
    """Lite-HRNet: the same places, depthwise-separable. `relu`: at the end, which X-HRNet leaves out."""

    kind: Literal["lite"]
    relu: bool = True


class SeparableTransition(PartOptions):
    """HR-LiteNet: the same places, depthwise-separable with a ReLU after each convolution."""

    kind: Literal["separable"]


class GhostTransition(Ghosted):
    """The same places, with ghost convolutions; where they stride, after a depthwise 3x3, as in GhostNet."""

    kind: Literal["ghost"]


Transition = Annotated[
    ConvTransition | LiteTransition | SeparableTransition | GhostTransition, Field(discriminator="kind")
]
