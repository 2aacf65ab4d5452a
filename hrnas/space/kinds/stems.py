"""Stems: from the picture to stage 1's output, a quarter of its size and `out` channels wide."""

from __future__ import annotations

from math import lcm
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import Self

from hrnas.reading import Options
from hrnas.space.kinds.attention import CBAM, Attention
from hrnas.space.kinds.parts import Ghost, Reduction, Repeat, Width, round_up


class StemOptions(Options):
    """What every stem can be asked."""

    kind: str
    out: Width

    @property
    def label(self) -> str:
        """The name inside parameters' names: the kind, and the options that change what a channel means."""
        return self.kind

    def problems(self) -> list[str]:
        """What is impossible, each line beginning with the option's name."""
        return []

    def mended(self) -> Self:
        """The nearest options without problems."""
        return self

    def canonical(self) -> Self:
        """The one spelling that stands for all options which build the same stem."""
        return self


class BottleneckStem(StemOptions):
    """HRNet: two 3x3 convolutions of stride 2 with `width` channels, then `blocks` bottlenecks to `out` channels."""

    kind: Literal["bottleneck"]
    width: Width = 64
    blocks: Repeat = 4
    out: Width = 256

    def problems(self) -> list[str]:
        return _indivisible("out", self.out, 4, "bottlenecks")

    def mended(self) -> Self:
        return self.model_copy(update={"out": round_up(self.out, 4)})


class GhostBottleneckStem(StemOptions):
    """LE-HRNet: HRNet's stem with ghost convolutions in its bottlenecks, in the place of the 3x3 alone or of all three.

    The paper says no more than that the 3x3 are replaced; `all` explains its two figures of compute better, and its
    parameters worse.
    """

    kind: Literal["ghost_bottleneck"]
    width: Width = 64
    blocks: Repeat = 4
    out: Width = 256
    ghosted: Literal["conv3x3", "all"] = "conv3x3"
    ghost: Ghost = Ghost()

    @property
    def label(self) -> str:
        return f"ghost_bottleneck_ratio{self.ghost.ratio}"

    def problems(self) -> list[str]:
        return _indivisible("out", self.out, 4 * self.ghost.ratio, "ghost bottlenecks")

    def mended(self) -> Self:
        return self.model_copy(update={"out": round_up(self.out, 4 * self.ghost.ratio)})


class LBlockStem(StemOptions):
    """HR-LiteNet: two 3x3 convolutions of stride 2 with `width` channels, then `blocks` L-blocks to `out` channels.

    `split`: each of the first block's two sub-branches sees one half of twice as many channels, and not all of them.
    That is the paper's "portion of features" to the letter, but its printed operations fit without.
    """

    kind: Literal["l_block"]
    width: Width = 64
    blocks: Repeat = 4
    out: Width = 256
    split: bool = False
    attention: Attention = CBAM(kind="cbam")

    @property
    def label(self) -> str:
        return "l_block_split" if self.split else "l_block"

    def problems(self) -> list[str]:
        found = _indivisible("out", self.out, self._step, f"L-blocks with attention {self.attention.kind}")
        return found or [f"attention.{problem}" for problem in self.attention.problems((self.out,))]

    def mended(self) -> Self:
        out = round_up(self.out, self._step)
        return self.model_copy(update={"out": out, "attention": self.attention.mended((out,))})

    def canonical(self) -> Self:
        return self.model_copy(update={"attention": self.attention.canonical((self.out,))})

    @property
    def _step(self) -> int:
        return lcm(4, self.attention.width_step)


class _HalvingStem(StemOptions):
    """Halves of `width` channels go two ways, one of them through `expand` times as many."""

    width: Width = 32
    out: Width = 32
    expand: Annotated[int, Field(ge=1, le=8)] = 1

    def problems(self) -> list[str]:
        found = [
            f"{name}: {value} is odd, the shuffle stem halves it: take {round_up(value, 2)}"
            for name, value in (("width", self.width), ("out", self.out))
            if value % 2
        ]
        if self.out < self.width:
            least = round_up(self.width, 2)
            found.append(f"out: {self.out} is less than the stem's width {self.width}: take {least} or more")
        return found

    def mended(self) -> Self:
        width = round_up(self.width, 2)
        return self.model_copy(update={"width": width, "out": max(width, round_up(self.out, 2))})


class ShuffleStem(_HalvingStem):
    """Lite-HRNet: a 3x3 convolution of stride 2, then a shuffle block of stride 2 of inner width `expand` x `width`."""

    kind: Literal["shuffle"]


class LargeKernelStem(_HalvingStem):
    """Greit-HRNet: Lite-HRNet's stem with large kernel attention in its halves.

    The attention is depthwise `kernel`, depthwise `dilated` with `dilation`, 1x1. `place` is where it stands in the
    second half: before everything (`first`), or between its strided convolution and its last (`strided`).
    """

    kind: Literal["lks"]
    kernel: Literal[3, 5, 7] = 5
    dilated: Literal[3, 5, 7] = 7
    dilation: Annotated[int, Field(ge=1, le=8)] = 3
    place: Literal["first", "strided"] = "first"


class DynamicStem(StemOptions):
    """Dite-HRNet: a 3x3 convolution of stride 2, then the dynamic global context block of stride 2.

    `kernels`: that each of its convolutions sums up for a picture; `reduction`: of its global contexts.
    """

    kind: Literal["dgc"]
    out: Width = 32
    kernels: Literal[1, 2, 4, 8] = 4
    reduction: Reduction = 4

    def problems(self) -> list[str]:
        least = self._least()
        if self.out % 2 == 0 and self.out >= least:
            return []
        return [f"out: {self.out}, whose half is squeezed, must be even and {least} or more: take {self.mended().out}"]

    def mended(self) -> Self:
        return self.model_copy(update={"out": max(self._least(), round_up(self.out, 2))})

    def _least(self) -> int:
        return 2 * max(4, self.reduction)  # a 1x1 convolution leaves a quarter of half the channels


Stem = Annotated[
    BottleneckStem | GhostBottleneckStem | LBlockStem | ShuffleStem | LargeKernelStem | DynamicStem,
    Field(discriminator="kind"),
]


def _indivisible(name: str, value: int, step: int, who: str) -> list[str]:
    if value % step == 0:
        return []
    return [f"{name}: {value} is not divisible by {step}, as {who} need: take {round_up(value, step)}"]
