"""Say facts in words: costs, times, networks, goals; the page and the command line use the same ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

__all__ = [
    "COSTS",
    "SCORES",
    "align",
    "count",
    "describe_goals",
    "describe_network",
    "describe_range",
    "describe_stages",
    "format_cost",
    "format_seconds",
    "format_time",
]

SCORES = {"score": "score", "ap": "AP"}  # what is measured; every other goal is a counted cost
COSTS = {
    "macs": "MACs",
    "params": "parameters",
    "params_live": "live parameters",
    "macs_as_released": "MACs as released",
    "conv_gi": "conv MACs (Gi)",
    "lite_scale": "MFLOPs as Lite-HRNet counts",
    "all_ops": "operations (G)",
    "all_ops_gi": "operations (Gi)",
}


# ---------------------------------------------------------------------------------------------------------------------
# numbers


def count(number: int, noun: str) -> str:
    """'1 trial', '2 trials'."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def format_cost(value: float | None) -> str:
    """Three digits and a decimal suffix: 1130769 -> '1.13M'. What was not counted is '-'."""
    if value is None:
        return "-"
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size * 0.9995:  # 999,600 is 1M, not 1000K
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def format_seconds(seconds: float | None) -> str:
    """'48 s', '3 min 20 s', '1 h 12 min'."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = round(seconds / 60)
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def format_time(seconds: float) -> str:
    """Seconds since 1970 -> '2026-11-21 09:47 UTC'."""
    return datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def describe_range(values: Sequence[float]) -> str:
    """'0.412' or '0.401 to 0.423'."""
    low, high = min(values), max(values)
    return f"{low:.3f}" if len(values) == 1 else f"{low:.3f} to {high:.3f}"


def align(lines: Sequence[Sequence[str]], words: Collection[int]) -> list[str]:
    """The lines of a table with their columns below each other; those of words to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column in words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


# ---------------------------------------------------------------------------------------------------------------------
# goals and networks


def describe_goals(goals: Mapping[str, str]) -> str:
    """'high score and low MACs'."""
    words = {"maximize": "high", "minimize": "low"}
    return " and ".join(f"{words[how]} {(SCORES | COSTS).get(name, name)}" for name, how in goals.items())


def describe_network(tree: Mapping[str, Any]) -> str:
    """An architecture's kinds and widths: 'shuffle stem, shuffle rows, lite fusion, conv head, 40/80/160'."""
    stages = [stage for stage in tree.get("stages") or () if isinstance(stage, Mapping)]
    rows = _kinds(stage.get("row") for stage in stages)
    fusions = _kinds(stage.get("fusion") for stage in stages)
    named = [
        (_kinds([tree.get("stem")]), "stem"),
        (rows, "rows"),
        (fusions, "fusion"),
        (_kinds([tree.get("head")]), "head"),
    ]
    widths = "/".join(str(width) for width in tree.get("widths") or ())
    return ", ".join([*(f"{kinds} {part}" for kinds, part in named if kinds), *([widths] if widths else [])])


def describe_stages(tree: Mapping[str, Any]) -> tuple[str, ...]:
    """One line per stage: 'stage 2: 2 modules of 2 weighted_shuffle (kernel 3, ccw, se)'."""
    lines = []
    for number, stage in enumerate(tree.get("stages") or (), start=2):
        if not isinstance(stage, Mapping) or not isinstance(stage.get("row"), Mapping):
            continue
        inner = [_option(name, value) for name, value in stage["row"].items() if name != "kind"]
        lines.append(
            f"stage {number}: {stage.get('modules', '?')} × {stage.get('blocks', '?')} {_kinds([stage['row']])}"
            + (f" ({', '.join(inner)})" if inner else "")
        )
    return tuple(lines)


def _option(name: str, value: object) -> str:
    return _kinds([value]) or f"{name} none" if isinstance(value, Mapping) else f"{name} {value}"


def _kinds(options: Any) -> str:
    """The distinct kinds among some options, joined: 'shuffle+weighted_shuffle'."""
    return "+".join(dict.fromkeys(str(one["kind"]) for one in options if isinstance(one, Mapping) and "kind" in one))
