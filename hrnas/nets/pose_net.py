"""The one network class: what an architecture says, built.

picture -> stem -> stages of (transition, then modules of rows and a fusion, context at either end) -> head -> heatmaps
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast

from torch import Tensor, nn

from hrnas.nets.fusion import Fusion
from hrnas.nets.skeleton import is_without_weights
from hrnas.nets.tables import (
    Widths,
    build_context,
    build_fusion,
    build_head,
    build_row,
    build_stem,
    build_transition,
)
from hrnas.reading import UserError
from hrnas.space.architecture import FIRST_STAGE, Architecture, Stage

Start = Literal["paper", "scaled"]


class StageModule(nn.Module):
    """One step of a stage: its blocks, then its fusion."""

    def __init__(self, stage: Stage, widths: Widths, last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(build_row(stage.row, widths) for _ in range(stage.blocks))
        self.fusion = build_fusion(stage.fusion, widths, last)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        for block in self.blocks:
            features = block(features)
        return self.fusion(features)


class StageNet(nn.Module):
    """A stage: its transition, then its modules; before or after them its context."""

    def __init__(self, stage: Stage, before: Widths, widths: Widths, last: bool) -> None:
        super().__init__()
        self.transition = build_transition(stage.transition, before, widths)
        # `steps`, because `modules` is a word of torch's
        ends = [last and step == stage.modules - 1 for step in range(stage.modules)]
        self.steps = nn.ModuleList(StageModule(stage, widths, end) for end in ends)
        self.place = stage.context.place
        self.branch = stage.context.branch - 1
        self.context = build_context(stage.context, widths[self.branch])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        features = self._in_context("start", self.transition(features))
        for step in self.steps:
            features = step(features)
        return self._in_context("end", features)

    def _in_context(self, place: str, features: list[Tensor]) -> list[Tensor]:
        if self.context is None or self.place != place:
            return features
        return [self.context(x) if branch == self.branch else x for branch, x in enumerate(features)]


class PoseNet(nn.Module):
    """A network that finds keypoints: (B, 3, H, W) -> heatmaps (B, keypoints, H/4, W/4).

    Its weights start as in HRNet and Lite-HRNet: convolutions normal with deviation 0.001, biases 0, norms 1.

    Raises:
        UserError: the architecture is impossible; every reason is named.
    """

    def __init__(self, architecture: Architecture, keypoints: int) -> None:
        super().__init__()
        problems = architecture.problems()
        if problems:
            raise UserError("\n".join(f"architecture: {problem}" for problem in problems))
        self.architecture = architecture
        self.keypoints = keypoints
        self.stem = build_stem(architecture.stem)
        self.stages = nn.ModuleDict()  # "2", "3", "4": numbered as in HRNet
        before: Widths = (architecture.stem.out,)
        for index, stage in enumerate(architecture.stages):
            widths = architecture.branches(index)
            last = index == len(architecture.stages) - 1
            self.stages[f"{FIRST_STAGE + index}"] = StageNet(stage, before, widths, last)
            before = widths
        self.head = build_head(architecture.head, architecture.widths, architecture.stem.out, keypoints)
        self._dead = frozenset(self._drop_unread())
        if not is_without_weights():
            for name in self._dead:
                self.get_parameter(name).requires_grad_(False)
            self.reset_weights()

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        step = 2 ** (len(self.architecture.widths) + 1)  # the coarsest branch's share of the input
        if height % step or width % step:
            raise UserError(f"the picture is {height}x{width}; both sides must be divisible by {step}")
        stem = self.stem(image)
        features = [stem]
        for stage in self.stages.values():
            features = stage(features)
        return self.head(features, stem)

    def reset_weights(self, start: Start = "paper") -> None:
        """Draw all weights anew from torch's generator.

        Args:
            start: `paper`: normal with deviation 0.001, as HRNet's and Lite-HRNet's code. `scaled`: by the number of
                inputs, as torch's layers start; a network learns much more from its first few hundred steps.
        """
        for layer in self.modules():
            reset_layer(layer, start)

    def dead_parameters(self) -> set[str]:
        """The names of the parameters that change no output: they are counted, and never learn."""
        return set(self._dead)

    def _drop_unread(self) -> Iterator[str]:
        """Compute no output that nobody reads; the names of the parameters that change nothing."""
        yield from (name for name, parameter in self.named_parameters() if not parameter.requires_grad)
        if self.architecture.head.reads == "first":
            place, fusion = self._last_fusion()
            yield from (f"{place}.{name}" for name in fusion.drop_outputs())

    def _last_fusion(self) -> tuple[str, Fusion]:
        """The name and the module of the network's last fusion."""
        stage = f"{FIRST_STAGE + len(self.architecture.stages) - 1}"
        last = self.architecture.stages[-1]
        place = f"stages.{stage}.steps.{last.modules - 1}.fusion.{last.fusion.label}"
        return place, cast(Fusion, self.get_submodule(place))


def reset_layer(layer: nn.Module, start: Start) -> None:
    """Draw the weights of one layer anew; modules that only hold others are left alone."""
    if isinstance(layer, (nn.Conv2d, nn.Conv1d, nn.Linear)):
        if start == "paper":
            nn.init.normal_(layer.weight, std=0.001)
        else:
            layer.reset_parameters()
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.BatchNorm2d):
        layer.reset_running_stats()
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
    elif callable(restart := getattr(layer, "reset_parameters", None)):
        restart()  # a layer with a start of its own
