"""One network, fully decided: a frozen value that round-trips through YAML, with a canonical key.

    stem -> stage 2 -> stage 3 [-> stage 4] -> head        (stage 1 belongs to the stem)

A stage begins with a transition that adds one branch of half the resolution; then come its modules, each of `blocks`
rows and a fusion. The number of keypoints and the size of the input are no part of an architecture.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from hrnas.reading import Number, Options, Size, UserError, validate
from hrnas.space.kinds import Fusion, Head, Repeat, Row, Stem, Transition, Width, common_step

Tree = dict[str, Any]
FIRST_STAGE = 2  # stages are numbered as in HRNet


class Stage(Options):
    """`modules` times (`blocks` rows, then a fusion), on one branch more than the stage before."""

    modules: Repeat
    blocks: Repeat
    transition: Transition
    row: Row
    fusion: Fusion


class Architecture(Options):
    """A network: what stands in each slot, and the widths of the branches from the finest to the coarsest."""

    stem: Stem
    widths: tuple[Width, ...]
    stages: Annotated[tuple[Stage, ...], Field(min_length=2, max_length=3)]
    head: Head

    @classmethod
    def from_tree(cls, tree: object, source: str = "architecture") -> Architecture:
        """Read an architecture from what YAML gives.

        Raises:
            UserError: a line for every mistake, each with `source` and the key.
        """
        architecture = validate(cls, tree, source)
        problems = architecture.problems()
        if problems:
            raise UserError("\n".join(f"{source}: {problem}" for problem in problems))
        return architecture

    def tree(self) -> Tree:
        """Plain lists and mappings for YAML, every option written out; `from_tree` reads them back."""
        return self.model_dump(mode="json")

    @property
    def key(self) -> str:
        """12 hex digits: the same network has the same key, however it was written.

        Options at their defaults are left out, so that an option added to a kind later changes no older key.
        """
        plain = self._with_stages(stage.row.canonical(widths) for stage, widths in self._stage_widths())
        text = json.dumps(plain.model_dump(mode="json", exclude_defaults=True), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def branches(self, stage: int) -> tuple[int, ...]:
        """The widths of the branches of `stages[stage]`."""
        return self.widths[: stage + FIRST_STAGE]

    def problems(self) -> list[str]:
        """What makes this combination impossible, one line each, beginning with the key; none if it can be built."""
        found = [f"stem.{problem}" for problem in self.stem.problems()]
        branches = len(self.stages) + 1
        if len(self.widths) != branches:
            found.append(
                f"widths: {len(self.stages)} stages need {branches} widths, one per branch (got {len(self.widths)})"
            )
            return found
        found += [problem for branch in range(branches) for problem in self._width_problems(branch)]
        for index, (stage, widths) in enumerate(self._stage_widths()):
            found += [f"stages[{index}].row.{problem}" for problem in stage.row.problems(widths)]
        *early, last = self.stages
        for index, stage in enumerate(early):
            if stage.fusion.outputs == "first":
                found.append(
                    f"stages[{index}].fusion.outputs: only the last stage can end in its first output: take all"
                )
        if self.head.reads == "all" and last.fusion.outputs == "first":
            place = f"stages[{len(early)}].fusion.outputs"
            found.append(f"{place}: the head ({self.head.kind}) reads all outputs, not the first alone: take all")
        return found

    def mended(self) -> Architecture:
        """The nearest architecture without problems, found in one fixed way; itself where there are none."""
        widths = list(self.widths[: len(self.stages) + 1])
        while len(widths) < len(self.stages) + 1:
            widths.append(2 * widths[-1] if widths else self.stem.out)
        for branch, width in enumerate(widths):
            step = common_step(self._rows_on(branch))
            widths[branch] = -(-width // step) * step
        *early, last = self.stages
        stages = [_with_outputs(stage, "all") for stage in early]
        stages.append(_with_outputs(last, "all") if self.head.reads == "all" else last)
        mended = self.model_copy(update={"stem": self.stem.mended(), "widths": tuple(widths), "stages": tuple(stages)})
        return mended._with_stages(stage.row.mended(seen) for stage, seen in mended._stage_widths())

    def _stage_widths(self) -> list[tuple[Stage, tuple[int, ...]]]:
        return [(stage, self.branches(index)) for index, stage in enumerate(self.stages)]

    def _with_stages(self, rows: Any) -> Architecture:
        stages = tuple(s.model_copy(update={"row": row}) for s, row in zip(self.stages, rows, strict=True))
        return self.model_copy(update={"stages": stages})

    def _rows_on(self, branch: int) -> list[Row]:
        """The rows of the stages that have this branch."""
        return [stage.row for index, stage in enumerate(self.stages) if branch < index + FIRST_STAGE]

    def _width_problems(self, branch: int) -> list[str]:
        width = self.widths[branch]
        unfit = {row.kind: row.width_step for row in self._rows_on(branch) if width % row.width_step}
        if not unfit:
            return []
        step = common_step(self._rows_on(branch))
        needs = " and ".join(f"{kind} rows by {each}" for kind, each in unfit.items())
        below, above = width // step * step, -(-width // step) * step
        take = f"{below} or {above}" if below else f"{above}"
        return [f"widths[{branch}]: {width} must be divisible, for {needs}: take {take}"]


def _with_outputs(stage: Stage, outputs: str) -> Stage:
    return stage.model_copy(update={"fusion": stage.fusion.model_copy(update={"outputs": outputs})})


def repair(tree: Tree) -> Tree:
    """Mend what single choices cannot know of each other (a width of its rows, a head of its inputs), in one way.

    Raises:
        UserError: the tree is no architecture even one by one: unknown keys or kinds, wrong types.
    """
    return validate(Architecture, tree, "architecture").mended().tree()


# ---------------------------------------------------------------------------------------------------------------------
# published points


class Figures(Options):
    """What one row of one table prints of a network; nothing that is not printed there."""

    paper: str
    table: str
    data: str
    split: str
    input: Size
    params: Annotated[str, Field(pattern=r"^\d+(\.\d+)?M$")] | None = None  # in 1e6
    compute: Annotated[str, Field(pattern=r"^\d+(\.\d+)?[MG]$")] | None = None  # in the scale's own M or G
    scale: Literal["conv_gi", "lite_scale", "all_ops", "all_ops_gi"] | None = None
    rounding: Literal["nearest", "down"] = "nearest"
    boxes: str | None = None  # whose person boxes: detector (with its AP) or ground truth
    ap: Number | None = None  # AP, AR and PCKh in percent, as papers print them
    ap50: Number | None = None
    ap75: Number | None = None
    ap_m: Number | None = None
    ap_l: Number | None = None
    ar: Number | None = None
    ar50: Number | None = None
    pckh: Number | None = None
    pckh01: Number | None = None
    note: str | None = None

    @property
    def compute_unit(self) -> float:
        """A profile's value times this is in the printed unit; profiles have `lite_scale` in M, the others in G."""
        letter = "" if self.compute is None else self.compute[-1]
        thousand = 1000 if self.scale == "all_ops" else 1024
        if self.scale == "lite_scale":
            return 1 / thousand if letter == "G" else 1
        return thousand if letter == "M" else 1


class PublishedPoint(Options):
    """An architecture from a paper, the figures printed for it, and what the papers leave open."""

    name: str
    about: str = ""
    architecture: Architecture
    published: tuple[Figures, ...] = ()
    open_questions: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _architecture_is_possible(self) -> Self:
        problems = self.architecture.problems()
        if problems:
            raise ValueError("; ".join(f"architecture.{problem}" for problem in problems))
        return self
