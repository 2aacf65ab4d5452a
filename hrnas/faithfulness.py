"""Compare what papers print of their networks with what we count, on the paper's scale and at its input."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple

from hrnas.nets.cost import measure_cost
from hrnas.reading import format_size
from hrnas.report.words import count
from hrnas.space.architecture import Figures, PublishedPoint
from hrnas.space.published import load_point, published_names

KEYPOINTS = {"mpii": 16}  # all other data of the papers is COCO's
Verdict = Literal["equal", "within", "off"]


class Compared(NamedTuple):
    """One printed figure, and ours in the printed unit."""

    printed: str  # "205.2M"
    ours: float  # 205.2295
    verdict: Verdict  # equal to the printed digits; else within what the card allows, or off

    @property
    def difference(self) -> float:
        """How far ours lies above the printed one, in percent of that."""
        return 100 * (self.ours / float(self.printed[:-1]) - 1)


class Row(NamedTuple):
    """What one row of one table prints of a published point, and what we count; None is what is not printed."""

    point: str
    key: str
    figures: Figures
    keypoints: int
    params: Compared | None
    compute: Compared | None

    @property
    def verdicts(self) -> set[Verdict]:
        """Of all that is printed."""
        return {each.verdict for each in (self.params, self.compute) if each}


def read_rows() -> list[Row]:
    """Every row on the cards of `search_spaces/published/` that prints parameters or compute, in the cards' order."""
    return [
        compare(point, figures)
        for point in map(load_point, published_names())
        for figures in point.published
        if figures.params or figures.compute
    ]


def compare(point: PublishedPoint, figures: Figures) -> Row:
    """Count a network as a row of a paper's table does."""
    keypoints = KEYPOINTS.get(figures.data, 17)
    cost = measure_cost(point.architecture, keypoints, figures.input)
    params = compute = None
    if figures.params:
        # papers that round their compute cut their parameters off now and then: 760,365 is printed 0.7M
        params = _compared(figures.params, cost.params / 1e6, {"nearest", "down"}, figures.within)
    if figures.compute and figures.scale:
        ours = getattr(cost, figures.scale) * figures.compute_unit
        compute = _compared(figures.compute, ours, {figures.rounding}, figures.within)
    return Row(point.name, point.architecture.key, figures, keypoints, params, compute)


def _compared(printed: str, ours: float, roundings: set[str], within: float | None) -> Compared:
    digits = len(printed[:-1].partition(".")[2])
    as_printed = {"nearest": round(ours, digits), "down": int(ours * 10**digits) / 10**digits}
    if float(printed[:-1]) in [as_printed[rounding] for rounding in roundings]:
        return Compared(printed, ours, "equal")
    off = Compared(printed, ours, "off")
    return off._replace(verdict="within") if within and abs(off.difference) <= within else off


# ---------------------------------------------------------------------------------------------------------------------
# as JSON and as text


def as_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The rows as plain values."""

    def figure(compared: Compared | None) -> dict[str, Any] | None:
        return compared and {**compared._asdict(), "difference": compared.difference}

    said = ("paper", "table", "data", "split", "input", "scale", "rounding", "within", "note")
    return [
        {
            "point": row.point,
            "key": row.key,
            **row.figures.model_dump(mode="json", include=set(said)),
            "keypoints": row.keypoints,
            "params": figure(row.params),
            "compute": figure(row.compute),
        }
        for row in rows
    ]


WIDTH = 100
HEAD = ("input", "K", "params", "ours", "% off", "compute", "ours", "% off", " scale")  # after the paper's name
SIDES = "<>>>>>>>><"  # to which side the cells of each column go
MARKS: dict[Verdict, str] = {"equal": "=", "within": "~", "off": "!"}
LEGEND = """\
K: keypoints. % off: how far ours lies above what is printed, in percent of it.
= ours, with as many digits as are printed, is what is printed: to the nearest, or cut off.
~ it is not, for the reason that stands below. ! it is not, and no card says why."""


def format_rows(rows: Sequence[Row]) -> str:
    """A table for each paper; what several tables print alike stands once, with the first of them."""
    claims: dict[Any, list[Row]] = {}
    for row in rows:
        claims.setdefault((row.point, row.figures.input, row.keypoints, row.params, row.compute), []).append(row)
    in_order = sorted(claims.values(), key=lambda same: (same[0].figures.paper, same[0].figures.table))
    lines: list[tuple[str, ...] | str] = []
    for paper, of_paper in groupby(in_order, lambda same: same[0].figures.paper):
        lines += ["", (paper, *HEAD)]
        for table, of_table in groupby(of_paper, lambda same: same[0].figures.table):
            lines.append(_table(table))
            for first, *others in of_table:
                lines.append(_cells(first))
                if first.verdicts != {"equal"}:
                    lines += _below(first.figures.note or "no reason is given")
                if others:
                    lines += _below(f"also in {'; '.join(_place(row.figures, paper) for row in others)}")
    return "\n".join([LEGEND, *_aligned(lines), "", _sum(rows)])


def _cells(row: Row) -> tuple[str, ...]:
    def figure(compared: Compared | None) -> tuple[str, str, str]:
        if compared is None:
            return ("", "", "")
        ours = f"{compared.ours:#.4g}".rstrip(".") + compared.printed[-1]
        off = round(compared.difference, 1) + 0.0  # no -0.0
        return (compared.printed, ours, f"{off:+.1f} {MARKS[compared.verdict]}")

    scale = f" {row.figures.scale}" if row.compute else ""
    size = format_size(row.figures.input)
    return (f"  {row.point}", size, str(row.keypoints), *figure(row.params), *figure(row.compute), scale)


def _table(table: str) -> str:
    return f"table {table}" if " " not in table else table


def _place(figures: Figures, paper: str) -> str:
    return _table(figures.table) if figures.paper == paper else f"{figures.paper}, {_table(figures.table)}"


def _below(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 4)


def _aligned(lines: Sequence[tuple[str, ...] | str]) -> list[str]:
    cells = [line for line in lines if not isinstance(line, str)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def join(line: tuple[str, ...]) -> str:
        return " ".join(f"{c:{side}{width}}" for c, side, width in zip(line, SIDES, widths, strict=True)).rstrip()

    return [line if isinstance(line, str) else join(line) for line in lines]


def _sum(rows: Sequence[Row]) -> str:
    verdicts = [each.verdict for row in rows for each in (row.params, row.compute) if each]
    marks = ", ".join(f"{verdicts.count(verdict)} {mark}" for verdict, mark in MARKS.items())
    return f"{count(len(verdicts), 'printed figure')} of {count(len({row.point for row in rows}), 'network')}: {marks}"
