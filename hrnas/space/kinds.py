"""The kinds that fill an architecture's slots: the options of each, with its own rules.

A kind has two halves with one name: the options here, and the module in `hrnas/nets`. To add one: write its options
class, put it into its slot's union, and write its module; a test compares the two sides. An option needs a default, so
that a search space may set only some of them; a kind never has one, so that an architecture says what it is made of.
"""

from __future__ import annotations

from math import lcm
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field
from typing_extensions import Self

from hrnas.reading import Options

Width = Annotated[int, Field(ge=1, le=4096)]  # channels
Repeat = Annotated[int, Field(ge=1, le=64)]  # modules in a stage, blocks in a module
Kernel = Literal[3, 5, 7, 9, 11]  # odd, so that padding kernel // 2 keeps the size


# ---------------------------------------------------------------------------------------------------------------------
# stem: from the picture to stage 1's output, a quarter of its size and `out` channels wide


class BottleneckStem(Options):
    """HRNet: two 3x3 convolutions of stride 2 with `width` channels, then `blocks` bottlenecks to `out` channels."""

    kind: Literal["bottleneck"]
    width: Width = 64
    blocks: Repeat = 4
    out: Width = 256

    def problems(self) -> list[str]:
        if self.out % 4:
            return [f"out: {self.out} is not divisible by 4, as bottlenecks need: take {_up(self.out, 4)}"]
        return []

    def mended(self) -> Self:
        return self.model_copy(update={"out": _up(self.out, 4)})


class ShuffleStem(Options):
    """Lite-HRNet: a 3x3 convolution of stride 2, then a shuffle block of stride 2 of inner width `expand` x `width`."""

    kind: Literal["shuffle"]
    width: Width = 32
    out: Width = 32
    expand: Annotated[int, Field(ge=1, le=8)] = 1

    def problems(self) -> list[str]:
        found = [
            f"{name}: {value} is odd, the shuffle stem halves it: take {_up(value, 2)}"
            for name, value in (("width", self.width), ("out", self.out))
            if value % 2
        ]
        if self.out < self.width:
            found.append(
                f"out: {self.out} is less than the stem's width {self.width}: take {_up(self.width, 2)} or more"
            )
        return found

    def mended(self) -> Self:
        width = _up(self.width, 2)
        return self.model_copy(update={"width": width, "out": max(width, _up(self.out, 2))})


Stem = Annotated[BottleneckStem | ShuffleStem, Field(discriminator="kind")]


# ---------------------------------------------------------------------------------------------------------------------
# the two weightings inside a weighted shuffle row


class Unweighted(Options):
    """No weighting in this place."""

    kind: Literal["none"]


class CrossResolutionWeighting(Options):
    """Lite-HRNet: one weight per channel and position of the coarsest map, seen from all resolutions at once."""

    kind: Literal["ccw"]
    reduction: Annotated[int, Field(ge=1, le=64)] = 8


class SqueezeExcite(Options):
    """Lite-HRNet's spatial weighting: one weight per channel of one resolution, from its mean over all positions."""

    kind: Literal["se"]
    reduction: Annotated[int, Field(ge=1, le=64)] = 4


_Reduced = tuple[str, CrossResolutionWeighting | SqueezeExcite, list[int]]
Cross = Annotated[CrossResolutionWeighting | Unweighted, Field(discriminator="kind")]
Single = Annotated[SqueezeExcite | Unweighted, Field(discriminator="kind")]


# ---------------------------------------------------------------------------------------------------------------------
# row: one block of a module, across all of its resolutions; keeps every shape


class RowOptions(Options):
    """What every row can be asked; the defaults of a row without rules of its own."""

    @property
    def width_step(self) -> int:
        """Every width must be a multiple of this."""
        return 1

    def problems(self, widths: tuple[int, ...]) -> list[str]:
        """What is impossible at these (legal) widths, each line beginning with the option's name."""
        return []

    def mended(self, widths: tuple[int, ...]) -> Self:
        """The nearest options without problems."""
        return self

    def canonical(self, widths: tuple[int, ...]) -> Self:
        """The one spelling that stands for all options which build the same row at these widths."""
        return self


class ResidualRow(RowOptions):
    """HRNet's basic block: two convolutions and the input again."""

    kind: Literal["residual"]
    kernel: Kernel = 3


class BottleneckRow(RowOptions):
    """HRNet's bottleneck: 1x1 down to width / 4, a convolution, 1x1 up again, and the input."""

    kind: Literal["bottleneck"]
    kernel: Kernel = 3

    @property
    def width_step(self) -> int:
        return 4


class ShuffleRow(RowOptions):
    """ShuffleNetV2's unit, the block of the naive Lite-HRNet: half the channels pass, half go 1x1, depthwise, 1x1."""

    kind: Literal["shuffle"]
    kernel: Kernel = 3

    @property
    def width_step(self) -> int:
        return 2


class WeightedShuffleRow(RowOptions):
    """Lite-HRNet's block: half the channels pass, half go cross weighting, depthwise convolution, single weighting."""

    kind: Literal["weighted_shuffle"]
    kernel: Kernel = 3
    cross: Cross = CrossResolutionWeighting(kind="ccw")
    single: Single = SqueezeExcite(kind="se")

    @property
    def width_step(self) -> int:
        return 2

    def problems(self, widths: tuple[int, ...]) -> list[str]:
        return [
            f"{name}.reduction: {weighting.reduction} leaves no channel of {min(sizes)}: take {min(sizes)} or less"
            for name, weighting, sizes in self._reduced(widths)
            if weighting.reduction > min(sizes)
        ]

    def mended(self, widths: tuple[int, ...]) -> Self:
        return self._with_reductions(
            {name: min(weighting.reduction, *sizes) for name, weighting, sizes in self._reduced(widths)}
        )

    def canonical(self, widths: tuple[int, ...]) -> Self:
        smallest = {}
        for name, weighting, sizes in self._reduced(widths):
            kept = [size // weighting.reduction for size in sizes]
            smallest[name] = next(r for r in range(1, 65) if [size // r for size in sizes] == kept)
        return self._with_reductions(smallest)

    def _with_reductions(self, reductions: dict[str, int]) -> Self:
        return self.model_copy(
            update={name: getattr(self, name).model_copy(update={"reduction": r}) for name, r in reductions.items()}
        )

    def _reduced(
        self, widths: tuple[int, ...]
    ) -> list[tuple[str, CrossResolutionWeighting | SqueezeExcite, list[int]]]:
        """Each weighting that reduces, with the channel numbers that it reduces."""
        halves = [width // 2 for width in widths]
        found: list[tuple[str, CrossResolutionWeighting | SqueezeExcite, list[int]]] = []
        if isinstance(self.cross, CrossResolutionWeighting):
            found.append(("cross", self.cross, [sum(halves)]))
        if isinstance(self.single, SqueezeExcite):
            found.append(("single", self.single, halves))
        return found


Row = Annotated[ResidualRow | BottleneckRow | ShuffleRow | WeightedShuffleRow, Field(discriminator="kind")]


# ---------------------------------------------------------------------------------------------------------------------
# fusion: the end of a module, where every resolution hears of every other; and transition: the beginning of a stage

Outputs = Literal["all", "first"]  # of the network's last module; every other one has all of them


class FullFusion(Options):
    """HRNet: dense 3x3 convolutions of stride 2 downwards, 1x1 and nearest upsampling upwards, sum, ReLU."""

    kind: Literal["full"]
    outputs: Outputs = "all"


class LiteFusion(Options):
    """Lite-HRNet: as the full fusion, with depthwise-separable convolutions downwards.

    `double_add` is what the released code does: branch 0 is added twice, and the other branches hear the fused branch 0
    instead of its input (HRNet/Lite-HRNet, issue 64). `false` is the plain sum of the paper.
    """

    kind: Literal["lite"]
    double_add: bool = True
    outputs: Outputs = "all"


Fusion = Annotated[FullFusion | LiteFusion, Field(discriminator="kind")]


class ConvTransition(Options):
    """HRNet: a dense 3x3 convolution for each new branch, and where the width changes."""

    kind: Literal["conv"]


class LiteTransition(Options):
    """Lite-HRNet: the same places, depthwise-separable."""

    kind: Literal["lite"]


Transition = Annotated[ConvTransition | LiteTransition, Field(discriminator="kind")]


# ---------------------------------------------------------------------------------------------------------------------
# head: from the last module's outputs to one heatmap per keypoint


class ConvHead(Options):
    """HRNet: a 1x1 convolution on the finest output."""

    kind: Literal["conv"]
    reads: ClassVar[Outputs] = "first"


class IterativeHead(Options):
    """Lite-HRNet: from the coarsest output upwards, depthwise-separable convolution, upsample, add; then 1x1."""

    kind: Literal["iterative"]
    reads: ClassVar[Outputs] = "all"


Head = Annotated[ConvHead | IterativeHead, Field(discriminator="kind")]


# ---------------------------------------------------------------------------------------------------------------------

SLOTS: dict[str, Any] = {
    "stem": Stem,
    "row": Row,
    "cross": Cross,
    "single": Single,
    "fusion": Fusion,
    "transition": Transition,
    "head": Head,
}


def kinds_of(slot: str) -> dict[str, type[Options]]:
    """The kinds that can fill a slot, by name."""
    union = get_args(SLOTS[slot])[0]
    return {get_args(options.model_fields["kind"].annotation)[0]: options for options in get_args(union)}


def common_step(rows: list[Row]) -> int:
    """The smallest step of widths that suits all these rows."""
    return lcm(*(row.width_step for row in rows))


def _up(value: int, step: int) -> int:
    return -(-value // step) * step
