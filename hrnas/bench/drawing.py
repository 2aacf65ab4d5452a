"""Draw curves of comparisons: a page to look into, and a picture for documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from hrnas.bench.records import Run, quartiles
from hrnas.report.figures import CONFIG, SHADES, lay_out

__all__ = ["COLORS", "draw_svg", "write_page"]

# Okabe & Ito's colours, which are told apart without colour vision; then the same, dotted
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 400, 52, 12, 190, 44  # of the picture, in pixels


def write_page(path: Path, problems: Mapping[str, Mapping[str, Sequence[Run]]]) -> None:
    """One HTML file that needs no other: a figure for each problem, medians with the quartiles around them."""
    import plotly.graph_objects as go

    parts: list[str] = []
    for name, runs in problems.items():
        figure = go.Figure()
        for place, (method, some) in enumerate(runs.items()):
            low, median, high = quartiles(some)
            across = [*range(1, len(median) + 1)]
            color, dash = _look(place)
            line = {"color": color, "dash": dash, "shape": "hv"}
            figure.add_scatter(x=across, y=median, name=method, legendgroup=method, mode="lines", line=line)
            figure.add_scatter(
                x=[*across, *across[::-1]],
                y=[*high, *low[::-1]],
                legendgroup=method,
                showlegend=False,
                fill="toself",
                fillcolor=color,
                opacity=0.12,
                line={"width": 0},
                hoverinfo="skip",
            )
        lay_out(figure, "evaluations", "hypervolume (best known: 1)", name)
        figure.update_layout(showlegend=True, title=name, height=520, margin={"t": 50})
        library = not parts  # the first figure brings it for all
        parts.append(figure.to_html(full_html=False, include_plotlyjs=library, config=CONFIG))
    head = "<!doctype html><html lang='en'><meta charset='utf-8'><title>hrnas bench</title>"
    path.write_text(f"{head}<body>{''.join(parts)}</body></html>", encoding="utf-8")


def draw_svg(runs: Mapping[str, Sequence[Run]], title: str) -> str:
    """The same curves as a picture without a program in it: medians, and the names at their ends, best first."""
    bands = {method: quartiles(some) for method, some in runs.items()}
    evaluations = next(iter(bands.values())).shape[1]
    low = min(float(band[0, evaluations // 10]) for band in bands.values())
    high = max(float(band[2, -1]) for band in bands.values())
    low, high = np.floor(low * 20) / 20, np.ceil(high * 20) / 20

    def x(place: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * place / evaluations

    def y(volume: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (max(volume, low) - low) / (high - low))

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" fill="{SHADES["ink"]}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for tick in np.linspace(low, high, 6):
        lines.append(
            f'<path d="M{LEFT} {y(tick):.1f}H{x(evaluations):.1f}" stroke="{SHADES["grid"]}"/>'
            f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.2f}</text>'
        )
    for tick in range(0, evaluations + 1, max(evaluations // 5, 1)):
        lines.append(f'<text x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick}</text>')
    lines.append(f'<text x="{x(evaluations / 2):.1f}" y="{HEIGHT - 8}" text-anchor="middle">evaluations</text>')
    ends = _apart({method: y(band[1, -1]) for method, band in bands.items()}, 15.0)
    for place, (method, band) in enumerate(bands.items()):
        color, dash = _look(place)
        dots = ' stroke-dasharray="2 3"' if dash == "dot" else ""
        there = [f"{x(i + 1):.1f} {y(v):.1f}" for i, v in enumerate(band[1])]
        back = [f"{x(i + 1):.1f} {y(v):.1f}" for i, v in reversed([*enumerate(band[0])])]
        around = [f"{x(i + 1):.1f} {y(v):.1f}" for i, v in enumerate(band[2])]
        lines += [
            f'<path d="M{"L".join([*around, *back])}Z" fill="{color}" opacity="0.10"/>',
            f'<path d="M{"L".join(there)}" fill="none" stroke="{color}" stroke-width="1.8"{dots}/>',
            f'<text x="{x(evaluations) + 8:.1f}" y="{ends[method] + 4:.1f}" fill="{color}">{escape(method)}</text>',
        ]
    return "\n".join([*lines, "</svg>\n"])


def _look(place: int) -> tuple[str, str]:
    return COLORS[place % len(COLORS)], "solid" if place < len(COLORS) else "dot"


def _apart(heights: Mapping[str, float], gap: float) -> dict[str, float]:
    """The heights, moved so that names at them do not cover each other; their order stays."""
    order = sorted(heights, key=lambda name: heights[name])
    moved: dict[str, float] = {}
    for name in order:
        above = max(moved.values(), default=-np.inf)
        moved[name] = max(heights[name], above + gap)
    surplus = max(max(moved.values()) - (HEIGHT - BOTTOM), 0.0)
    return {name: height - surplus for name, height in moved.items()}
