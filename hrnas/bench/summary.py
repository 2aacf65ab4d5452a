"""What a comparison says: a line for each method, the best first."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hrnas.bench.records import Run, evaluations_to_reach, quartiles

__all__ = ["as_table", "markdown", "summarise"]

BASELINES = ("random", "optuna_alone")


def summarise(runs: Mapping[str, Sequence[Run]]) -> list[dict[str, Any]]:
    """By method: hypervolume (lower quartile, median, upper quartile) and what follows from it; best median first.

    Returns:
        For each method `method`, `seeds`, `hypervolume`: evaluations -> [low, median, high], at a quarter, half and all
        of them; `distance`: the median IGD+; `seconds`: the median CPU time of a run; `reaches`: baseline -> after how
        many evaluations the median is what the baseline's is at the end, null where it stays below.
    """
    targets = {name: float(quartiles(runs[name])[1, -1]) for name in BASELINES if name in runs}
    lines = []
    for name, some in runs.items():
        bands = quartiles(some)
        evaluations = bands.shape[1]
        at = sorted({max(evaluations // 4, 1), max(evaluations // 2, 1), evaluations})
        lines.append(
            {
                "method": name,
                "seeds": len(some),
                "hypervolume": {str(count): [round(float(v), 4) for v in bands[:, count - 1]] for count in at},
                "distance": round(statistics.median(run.distance for run in some), 4),
                "seconds": round(statistics.median(run.seconds for run in some), 2),
                "reaches": {other: evaluations_to_reach(some, target) for other, target in targets.items()},
            }
        )
    return sorted(lines, key=lambda line: -[*line["hypervolume"].values()][-1][1])


def as_table(lines: Sequence[Mapping[str, Any]]) -> str:
    """The lines of `summarise` as a table in Markdown."""
    counts, baselines = [*lines[0]["hypervolume"]], [*lines[0]["reaches"]]
    rows = []
    for line in lines:
        *first, (low, median, high) = line["hypervolume"].values()
        rows.append(
            (
                line["method"],
                *(f"{band[1]:.3f}" for band in first),
                f"{median:.3f} [{low:.3f}, {high:.3f}]",
                f"{line['distance']:.3f}",
                *(str(line["reaches"][name] or "-") for name in baselines),
                f"{line['seconds']:.1f}",
            )
        )
    heads = (*(f"after {count}" for count in counts), "IGD+", *(f"as {name}" for name in baselines), "CPU s")
    return markdown(("method", *heads), rows)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown that can be read as it is; the first column is flushed left, the others right."""
    lines = [tuple(heads), *map(tuple, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(heads))]
    parts = [
        [
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    rule = ["-" * width if place == 0 else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (parts[0], rule, *parts[1:]))
