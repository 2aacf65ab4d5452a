"""Where resolutions meet: transitions, which begin a stage with one more, and fusions, which end each module."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from hrnas.nets.layers import ConvNorm, Path, SeparableConv, released_twice
from hrnas.nets.skeleton import piece

Up = Callable[[int, int, int], nn.Module]
Down = Callable[[tuple[int, ...]], nn.Module]


@piece
def dense(inputs: int, outputs: int, stride: int, act: bool = True) -> nn.Module:
    """A dense 3x3 convolution, as in HRNet."""
    return ConvNorm(inputs, outputs, 3, stride, act=act)


@piece
def separable(inputs: int, outputs: int, stride: int, act: bool = True) -> nn.Module:
    """A depthwise 3x3 and a 1x1 convolution, as in Lite-HRNet."""
    return SeparableConv(inputs, outputs, 3, stride, act=act)


def upsampled(convolution: Callable[[int, int], nn.Module]) -> Up:
    """A convolution to the new width, then nearest upsampling; with 1x1 and norm as HRNet brings a coarse branch up."""

    def up(inputs: int, outputs: int, halvings: int) -> nn.Module:
        return nn.Sequential(piece(convolution)(inputs, outputs), nn.Upsample(scale_factor=2**halvings, mode="nearest"))

    return up


def chained(convolution: Callable[..., nn.Module]) -> Down:
    """One strided convolution per halving, ReLU between them; the last alone changes the width, as in HRNet."""

    def down(widths: tuple[int, ...]) -> nn.Module:
        steps = [convolution(widths[0], widths[0], 2, act=True) for _ in widths[2:]]
        return nn.Sequential(*steps, convolution(widths[0], widths[-1], 2, act=False))

    return down


class Transition(nn.Module):
    """Adds a branch at half the coarsest resolution; the others pass, through a convolution where their width changes.

    `before` and `after` are the widths of the branches, `len(after) == len(before) + 1`.
    """

    def __init__(self, before: tuple[int, ...], after: tuple[int, ...], convolution: Path) -> None:
        super().__init__()
        self.paths = nn.ModuleDict()
        for branch, (inputs, outputs) in enumerate(zip(before, after, strict=False)):
            if inputs != outputs:
                self.paths[f"{branch}"] = convolution(inputs, outputs, 1)
        self.paths[f"{len(before)}"] = convolution(before[-1], after[-1], 2)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [
            self.paths[f"{branch}"](x) if f"{branch}" in self.paths else x
            for branch, x in enumerate([*features, features[-1]])
        ]


class Fusion(nn.Module):
    """Every output is the ReLU of the sum of all branches, each brought to its resolution and width.

    Args:
        widths: of the branches, the finest first.
        outputs: how many of the branches have an output, the finest first.
        up: (channels in, channels out, halvings) -> module that brings a coarser branch up.
        down: (widths of the branches from the source to the target) -> module that brings a finer branch down.
        double_add: branch 0 counts twice, and once it is fused the coarser branches hear its sum (before the ReLU)
            instead of it. So does the code of Lite-HRNet, by adding in place, and its weights need it. It computes each
            path from branch 0 twice, this class once.
        hear_output: with `double_add`, the coarser branches hear that sum after the ReLU, as in Dite-HRNet, whose ReLU
            works in place too.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        outputs: int,
        up: Up,
        down: Down,
        double_add: bool = False,
        hear_output: bool = False,
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.double_add = double_add
        self.hear_output = hear_output
        self.paths = nn.ModuleDict()
        for target in range(outputs):
            for source in range(len(widths)):
                if source > target:
                    path = up(widths[source], widths[target], source - target)
                elif source < target:
                    path = down(widths[source : target + 1])
                else:
                    continue
                twice = double_add and source == 0
                self.paths[f"{source}_to_{target}"] = released_twice(path) if twice else path
        self.act = nn.ReLU()  # one module for all outputs, as released: torchstat counts its last call

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        fused = []
        for target in range(self.outputs):
            total = self._bring(features, 0, target)
            if self.double_add:
                total = 2 * total
            for source in range(1, len(features)):
                total = total + self._bring(features, source, target)
            fused.append(self.act(total))
            if self.double_add and target == 0:
                features = [fused[0] if self.hear_output else total, *features[1:]]
        return fused

    def _bring(self, features: list[Tensor], source: int, target: int) -> Tensor:
        return features[source] if source == target else self.paths[f"{source}_to_{target}"](features[source])

    def drop_outputs(self) -> set[str]:
        """Compute the first output alone from now on, because nobody reads the others.

        What only they need stays, and is counted, but need not learn: these parameters' names are returned.
        """
        self.outputs = 1
        return self.dead_parameters("first")

    def dead_parameters(self, reads: str) -> set[str]:
        """The parameters that nobody hears of when only the `first` output is read."""
        if reads == "all":
            return set()
        return {name for name, _ in self.named_parameters() if not name.split(".")[1].endswith("_to_0")}
