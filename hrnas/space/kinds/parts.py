"""What all kinds share: small types, and the rules that a part of a network follows at given widths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import lcm, log2
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import Self

from hrnas.reading import Options

Width = Annotated[int, Field(ge=1, le=4096)]  # channels
Repeat = Annotated[int, Field(ge=1, le=64)]  # modules in a stage, blocks in a module
Reduction = Annotated[int, Field(ge=1, le=64)]
Kernel = Literal[3, 5, 7, 9, 11]  # odd, so that padding kernel // 2 keeps the size


class PartOptions(Options):
    """Options of a part that works on channels; these are the answers of a part without rules of its own.

    `widths` are the channels that the part sees: of each branch, or of one resolution alone.
    """

    inner: ClassVar[tuple[str, ...]] = ()  # the options that are slots themselves
    kind: str

    @property
    def label(self) -> str:
        """The name inside parameters' names: the kind, and the options that change what a channel means."""
        return self.kind

    @property
    def width_step(self) -> int:
        """Every width must be a multiple of this."""
        return lcm(*(part.width_step for part in self._parts().values()))

    def seen(self, widths: tuple[int, ...]) -> tuple[int, ...]:
        """The widths that the parts inside this one work on."""
        return widths

    def problems(self, widths: tuple[int, ...]) -> list[str]:
        """What is impossible at these (legal) widths, each line beginning with the option's name."""
        seen = self.seen(widths)
        return [f"{name}.{problem}" for name, part in self._parts().items() for problem in part.problems(seen)]

    def mended(self, widths: tuple[int, ...]) -> Self:
        """The nearest options without problems."""
        return self._with_parts(lambda part: part.mended(self.seen(widths)))

    def canonical(self, widths: tuple[int, ...]) -> Self:
        """The one spelling that stands for all options which build the same part at these widths."""
        return self._with_parts(lambda part: part.canonical(self.seen(widths)))

    def _parts(self) -> Mapping[str, PartOptions]:
        return {name: getattr(self, name) for name in self.inner}

    def _with_parts(self, change: Callable[[PartOptions], PartOptions]) -> Self:
        parts: dict[str, Any] = {name: change(part) for name, part in self._parts().items()}
        return self.model_copy(update=parts) if parts else self


class Reducing(PartOptions):
    """A part that squeezes channels to 1 / `reduction` of them, rounded down, and must leave one."""

    reduction: Reduction = 8

    def reduced(self, widths: tuple[int, ...]) -> tuple[int, ...]:
        """The numbers of channels that are squeezed."""
        return widths

    def problems(self, widths: tuple[int, ...]) -> list[str]:
        least = min(self.reduced(widths))
        if self.reduction <= least:
            return []
        return [f"reduction: {self.reduction} leaves no channel of {least}: take {least} or less"]

    def mended(self, widths: tuple[int, ...]) -> Self:
        return self.model_copy(update={"reduction": min(self.reduction, *self.reduced(widths))})

    def canonical(self, widths: tuple[int, ...]) -> Self:
        sizes = self.reduced(widths)
        kept = [size // self.reduction for size in sizes]
        return self.model_copy(
            update={"reduction": next(r for r in range(1, 65) if [size // r for size in sizes] == kept)}
        )


class OverChannels(PartOptions):
    """A part with a convolution over the order of channels; its kernel grows with their number.

    It is (log2(channels) + offset) / gamma, cut off, and one more where that is even: ECA, arXiv 1910.03151, eq. 12.
    """

    gamma: Annotated[int, Field(ge=1, le=8)] = 2
    offset: Annotated[int, Field(ge=0, le=8)] = 1

    def channel_kernel(self, channels: int) -> int:
        """The kernel over this many channels."""
        return int((log2(channels) + self.offset) / self.gamma) // 2 * 2 + 1

    def convolved(self, widths: tuple[int, ...]) -> tuple[int, ...]:
        """The numbers of channels that a convolution passes over."""
        return widths

    def canonical(self, widths: tuple[int, ...]) -> Self:
        spellings = (
            self.model_copy(update={"gamma": gamma, "offset": offset}) for gamma in range(1, 9) for offset in range(9)
        )
        return next(each for each in spellings if each._kernels(widths) == self._kernels(widths))

    def _kernels(self, widths: tuple[int, ...]) -> list[int]:
        return [self.channel_kernel(channels) for channels in self.convolved(widths)]


class Ghost(Options):
    """Ghost convolution: a dense convolution makes 1 / `ratio` of the channels, cheap depthwise ones the rest of them.

    Han et al., CVPR 2020, arXiv 1911.11907. `primary` and `cheap` are the two kernels: LE-HRNet's counts need a 1x1,
    though its equation 2 has one kernel for both.
    """

    ratio: Literal[2, 4, 8] = 2
    primary: Literal[1, 3] = 1
    cheap: Literal[3, 5] = 3


class Ghosted(PartOptions):
    """A part whose convolutions are ghost convolutions."""

    ghost: Ghost = Ghost()

    @property
    def label(self) -> str:
        return f"{self.kind}_ratio{self.ghost.ratio}"

    @property
    def width_step(self) -> int:
        return lcm(self.ghost.ratio, super().width_step)


def common_step(parts: Iterable[PartOptions]) -> int:
    """The smallest step of widths that suits all these parts."""
    return lcm(*(part.width_step for part in parts))


def round_up(value: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-value // step) * step
