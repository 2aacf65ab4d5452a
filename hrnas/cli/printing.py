"""How words print what they have to say."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import Any


def to_json(document: object) -> str:
    """A document as JSON."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values below each other."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def fitting(text: str, used: int) -> str:
    """As much of a text as a terminal's line still holds; all of it anywhere else."""
    if not sys.stdout.isatty():
        return text
    return textwrap.shorten(text, max(line_width() - used, 20), placeholder=" ...")


def line_width() -> int:
    """Characters in a line of the terminal; 100 in a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 100


def brief(value: object) -> str:
    """A value in a few characters."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() else f"{value:.4g}"
    return json.dumps(value, default=str)


def parts_table(parts: dict[str, dict[str, Any]]) -> str:
    """A table of an architecture's parts: one line each, one column for each count."""
    columns = list(dict.fromkeys(name for counts in parts.values() for name in counts))
    lines = [
        ("part", *columns),
        *((part, *(brief(counts.get(c, "")) for c in columns)) for part, counts in parts.items()),
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns) + 1)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def print_tree(name: str, value: object, indent: str = "") -> None:
    """Print a value under its name, what lies in it indented."""
    if isinstance(value, dict) and value:
        print(f"{indent}{name}:")
        for key, inner in value.items():
            print_tree(key, inner, indent + "  ")
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        print(f"{indent}{name}:")
        for inner in value:
            print(f"{indent}  - {', '.join(f'{key}: {brief(v)}' for key, v in inner.items())}")
    else:
        print(f"{indent}{name}: {brief(value)}")
