"""Sketch a network in text: the branches and their widths, what each part is made of, and what it costs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hrnas.reading import Options, format_size
from hrnas.report.words import format_cost
from hrnas.showing import PROFILE_INPUT
from hrnas.space.architecture import FIRST_STAGE, Architecture, Stage

LEAST = 32  # characters of a line for what a part is made of; where there are fewer beside the numbers, it stands below


def describe(document: Mapping[str, Any], width: int = 100) -> str:
    """What `hrnas show` prints of an architecture: its sketch, and what a published point's card has beside it.

    Args:
        document: of an architecture or a published point, as `showing.explain` gives it.
        width: of a line, in characters.
    """
    cost = document["cost"]
    live = "" if cost["params_live"] == cost["params"] else f" ({cost['params_live']:,} live)"
    counted = f"{cost['params']:,} parameters{live}, {cost['macs']:,} MACs at {format_size(PROFILE_INPUT)}"
    top = [document["card"], document.get("about", ""), f"key {document['key']}: {counted} with 17 keypoints"]
    blocks = ["\n".join(_wrapped(line, width, "", "") for line in top if line)]
    blocks.append(sketch(Architecture.from_tree(document["architecture"]), cost, width))
    for title, lines in (
        ("printed", [_printed(row) for row in document.get("published", ())]),
        ("open questions", document.get("open_questions", ())),
    ):
        if lines:
            blocks.append("\n".join([title, *(_wrapped(line, width, "  ", "    ") for line in lines)]))
    return "\n\n".join(blocks)


def _printed(row: Mapping[str, Any]) -> str:
    score = f"AP {row['ap']}" if row["ap"] else f"PCKh {row['pckh']}" if row["pckh"] else ""
    cells = (row["input"], row["params"] or "-", row["compute"] or "-", row["scale"] or "", score)
    return "{:<7}  {:>6}  {:>6} {:<10}  {:<11}".format(*cells) + f"  {row['paper']}, {row['table']}"


# ---------------------------------------------------------------------------------------------------------------------
# the sketch itself


def sketch(architecture: Architecture, cost: Mapping[str, Any], width: int = 100) -> str:
    """A table of the parts: each with its widths, parameters and MACs, and beside them what it is made of.

    Args:
        cost: as `cost_as_json` gives it.
        width: of a line, in characters.
    """
    branches = len(architecture.widths)
    lines = [_numbers("", [f"1/{4 << branch}" for branch in range(branches)], "params", "MACs")]
    for part, counts in {**cost["parts"], "total": cost}.items():
        widths, made_of = _explain(architecture, part)
        cells = [*map(str, widths), *[""] * (branches - len(widths))]
        left = _numbers(part, cells, format_cost(counts["params"]), format_cost(counts["macs"]))
        lines += _beside(left, made_of, width)
    return "\n".join(lines)


def _numbers(part: str, widths: Sequence[str], params: str, macs: str) -> str:
    return f"{part.replace('stage', 'stage '):<8}" + "".join(f"{each:>5}" for each in widths) + f"{params:>8}{macs:>8}"


def _beside(left: str, texts: Sequence[str], width: int) -> list[str]:
    """Texts to the right of a line where there is room, else below it."""
    indent = " " * (len(left) + 2 if width - len(left) - 2 >= LEAST else 2)
    lines = [_wrapped(text, width, indent, indent + " " * 8) for text in texts]
    if lines and len(indent) > len(left):
        lines[0] = left + lines[0][len(left) :]
        return lines
    return [left, *lines]


def _wrapped(text: str, width: int, indent: str, deeper: str) -> str:
    unbroken = textwrap.TextWrapper(width, indent, deeper, break_long_words=False, break_on_hyphens=False)
    return unbroken.fill(text)


def _explain(architecture: Architecture, part: str) -> tuple[tuple[int, ...], list[str]]:
    """The widths of a part, named as in a cost, and what it is made of, in the order of the flow."""
    if part == "stem":
        return (architecture.stem.out,), [in_words(architecture.stem, part)]
    if part == "head":
        return (), [in_words(architecture.head, part)]
    if part == "total":
        return (), []
    index = int(part.removeprefix("stage")) - FIRST_STAGE
    return architecture.branches(index), list(_stage_in_words(architecture.stages[index]))


def _stage_in_words(stage: Stage) -> Iterator[str]:
    times, context = f"{stage.modules} x [", stage.context
    yield in_words(stage.transition, "transition")
    modules = [
        f"{times}{stage.blocks} x {in_words(stage.row)}",
        f"{'':{len(times)}}{in_words(stage.fusion, 'fusion')}]",
    ]
    contexts = [] if context.kind == "none" else [f"{in_words(context, 'context')} on 1/{2 << context.branch}"]
    yield from contexts + modules if context.place == "start" else modules + contexts


def in_words(options: Options, slot: str = "") -> str:
    """A kind, the kinds inside it, and the options that are not at their defaults.

    `weighted_shuffle (kernel 5, cross ccw, single se)`, `lite fusion (double_add false)`
    """
    fields = type(options).model_fields.items()
    said = [_option(name, getattr(options, name), field.default) for name, field in fields if name != "kind"]
    details = ", ".join(filter(None, said))
    return " ".join(filter(None, (getattr(options, "kind", ""), slot, f"({details})" if details else "")))


def _option(name: str, value: Any, default: Any) -> str:
    """`kernel 5`, `attention mcam`, `ghost (ratio 4)`; nothing of a plain option at its default."""
    if isinstance(value, Options):
        if value != default:
            return f"{name} {in_words(value)}"
        kind = getattr(value, "kind", "none")
        return f"{name} {kind}" if kind != "none" else ""
    if value == default:
        return ""
    if isinstance(value, tuple):
        return f"{name} {'/'.join(map(str, value))}"
    return f"{name} {str(value).lower() if isinstance(value, bool) else value}"
