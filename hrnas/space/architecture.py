"""One network, fully decided: a frozen value that round-trips through YAML, with a canonical key.

    stem -> stage 2 -> stage 3 [-> stage 4] -> head        (stage 1 belongs to the stem)

A stage begins with a transition that adds one branch of half the resolution; then come its modules, each of `blocks`
rows and a fusion; a context may stand before or after them, on one branch. The number of keypoints and the size of the
input are no part of an architecture.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from hrnas.reading import Number, Options, Size, UserError, validate
from hrnas.space.kinds import (
    Context,
    Fusion,
    Head,
    NoContext,
    PartOptions,
    Repeat,
    Row,
    Stem,
    Transition,
    Width,
    common_step,
)

Tree = dict[str, Any]
FIRST_STAGE = 2  # stages are numbered as in HRNet


class Stage(Options):
    """`modules` times (`blocks` rows, then a fusion), and a context; on one branch more than the stage before."""

    modules: Repeat
    blocks: Repeat
    transition: Transition
    row: Row
    fusion: Fusion
    context: Context = NoContext(kind="none")

    @property
    def everywhere(self) -> dict[str, PartOptions]:
        """The parts that work on all of the stage's branches."""
        return {"transition": self.transition, "row": self.row, "fusion": self.fusion}


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
        plain = self._with_parts(lambda part, widths: part.canonical(widths))
        plain = plain.model_copy(update={"stem": self.stem.canonical()})
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
            for name, part in stage.everywhere.items():
                found += [f"stages[{index}].{name}.{problem}" for problem in part.problems(widths)]
            found += [f"stages[{index}].context.{problem}" for problem in self._context_problems(index)]
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
            step = common_step(part for _, part in self._parts_on(branch))
            widths[branch] = -(-width // step) * step
        *early, last = self.stages
        stages = [_with_outputs(stage, "all") for stage in early]
        stages.append(_with_outputs(last, "all") if self.head.reads == "all" else last)
        mended = self.model_copy(update={"stem": self.stem.mended(), "widths": tuple(widths), "stages": tuple(stages)})
        return mended._with_contexts()._with_parts(lambda part, seen: part.mended(seen))

    def _stage_widths(self) -> list[tuple[Stage, tuple[int, ...]]]:
        return [(stage, self.branches(index)) for index, stage in enumerate(self.stages)]

    def _with_parts(self, change: Callable[[PartOptions, tuple[int, ...]], PartOptions]) -> Architecture:
        """Every part of the stages changed, with the widths that it sees; a context sees one."""
        stages = []
        for stage, widths in self._stage_widths():
            parts = {name: change(part, widths) for name, part in stage.everywhere.items()}
            parts["context"] = change(stage.context, widths[stage.context.branch - 1 :][:1])
            stages.append(stage.model_copy(update=parts))
        return self.model_copy(update={"stages": tuple(stages)})

    def _with_contexts(self) -> Architecture:
        """Each context on a branch that is there, and that somebody reads."""
        stages = list(self.stages)
        for index, stage in enumerate(stages):
            branches = self._readable_branches(index)
            if stage.context.branch > branches:
                context = stage.context.model_copy(update={"branch": branches})
                stages[index] = stage.model_copy(update={"context": context})
        return self.model_copy(update={"stages": tuple(stages)})

    def _readable_branches(self, stage: int) -> int:
        """How many branches the part after this stage's context reads."""
        ends = stage == len(self.stages) - 1 and self.stages[stage].context.place == "end"
        return 1 if ends and self.head.reads == "first" else stage + FIRST_STAGE

    def _context_problems(self, stage: int) -> list[str]:
        context, branches = self.stages[stage].context, self._readable_branches(stage)
        if context.branch <= branches:
            return context.problems((self.widths[context.branch - 1],))
        reason = "the head reads the first branch alone" if branches == 1 else f"there are {branches} branches"
        return [f"branch: {context.branch}, but {reason}: take {branches} or less"]

    def _parts_on(self, branch: int) -> list[tuple[str, PartOptions]]:
        """The parts that mind the width of this branch, by their slot."""
        return [
            each
            for index, stage in enumerate(self.stages)
            if branch < index + FIRST_STAGE
            for each in stage.everywhere.items()
        ]

    def _width_problems(self, branch: int) -> list[str]:
        width, parts = self.widths[branch], self._parts_on(branch)
        unfit = {f"{part.kind} {slot}s": part.width_step for slot, part in parts if width % part.width_step}
        if not unfit:
            return []
        step = common_step(part for _, part in parts)
        needs = " and ".join(f"{who} by {each}" for who, each in unfit.items())
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
    giga: Literal[1000, 1024] = 1024  # how many M of `lite_scale` are this paper's G: the tool itself prints M
    rounding: Literal["nearest", "down"] = "nearest"
    within: Annotated[Number, Field(gt=0)] | None = None  # percent that our count may lie off; `note` says why
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

    @model_validator(mode="after")
    def _says_enough(self) -> Self:
        if self.compute is not None and self.scale is None:
            raise ValueError("compute: without `scale` it cannot be compared: name the scale that its paper counted in")
        if self.within is not None and self.note is None:
            raise ValueError("within: say in `note` why our count is not the printed one")
        return self

    @property
    def compute_unit(self) -> float:
        """A profile's value times this is in the printed unit; profiles have `lite_scale` in M, the others in G."""
        letter = "" if self.compute is None else self.compute[-1]
        if self.scale == "lite_scale":
            return 1 / self.giga if letter == "G" else 1
        thousand = 1000 if self.scale == "all_ops" else 1024
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
