"""Draw facts with plotly. Nothing is decided here: what is drawn, and as what, stands in the facts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

import plotly.graph_objects as go

from hrnas.report.facts import Interval, Point, Section, staircase
from hrnas.report.trust import Span, Trust, TrustRow
from hrnas.report.words import COSTS, SCORES, format_cost, format_seconds

__all__ = [
    "CONFIG",
    "SHADES",
    "agreement_figure",
    "front_figure",
    "history_figure",
    "lay_out",
    "progress_figure",
    "trust_figure",
]

# told apart without colour too: a disc was searched, a diamond was published, a small pale one is not on the front
SHADES = {
    "ink": "#1c2733",
    "muted": "#5d6b7a",
    "grid": "#e6eaef",
    "searched": "#1f5fae",
    "searched_pale": "#a9bcd3",
    "published": "#c2571a",
    "published_pale": "#e3b594",
}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"

# no logo (a link), no button that would send the figure to a server, no tools without a use here
CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "svg"},
}


def front_figure(section: Section, measure: str, cost: str) -> go.Figure:
    """All trials of a section: a score over a cost (log axis), the front as a staircase.

    Args:
        measure: "score" or "ap".
        cost: the name of a cost, such as "macs".
    """
    figure = go.Figure()
    prices = [point.costs[cost] for point in section.points if cost in point.costs]
    pad = 0.06 * max(math.log10(max(prices) / min(prices)), 0.3)
    across = [math.log10(min(prices)) - pad, math.log10(max(prices)) + pad]
    up = _span([edge for point in section.points for edge in _edges(point, measure)])
    places = _name_places(section.points, measure, cost, across, up)
    steps = staircase(section.points, measure, cost)
    figure.add_scatter(
        x=[price for price, _ in steps],
        y=[value for _, value in steps],
        mode="lines",
        line={"shape": "hv", "width": 1.5, "color": SHADES["muted"], "dash": "dot"},
        hoverinfo="skip",
    )
    for published in (False, True):
        for on_front in (False, True):
            points = [p for p in section.points if (p.origin == "published", p.on_front) == (published, on_front)]
            trace = _points(points, measure, cost, published, on_front)
            figure.add_trace(trace.update(textposition=[places[point.key] for point in points] if published else None))
    lay_out(figure, COSTS.get(cost, cost), SCORES[measure], f"{SCORES[measure]} over {COSTS.get(cost, cost)}")
    ticks, names = _ticks(prices)
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=names, range=across)
    figure.update_yaxes(range=up)
    return figure


def _points(points: Sequence[Point], measure: str, cost: str, published: bool, on_front: bool) -> go.Scatter:
    color = SHADES[("published" if published else "searched") + ("" if on_front else "_pale")]
    values = [_value(point, measure) for point in points]
    intervals = [_interval(point, measure) for point in points]
    return go.Scatter(
        x=[point.costs.get(cost) for point in points],
        y=values,
        mode="markers+text" if published else "markers",
        text=[f"\u00a0{escape(point.title)}\u00a0" for point in points] if published else None,
        textfont={"size": 11, "color": SHADES["published"]},
        marker={
            "symbol": "diamond" if published else "circle",
            "size": (11 if published else 10) if on_front else (9 if published else 7),
            "color": ["#ffffff" if point.within_noise else color for point in points],
            "line": {"color": color, "width": 2 if on_front else 1},
            "opacity": 1.0,
        },
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [_above(value, interval) for value, interval in zip(values, intervals, strict=True)],
            "arrayminus": [_below(value, interval) for value, interval in zip(values, intervals, strict=True)],
            "color": color,
            "thickness": 1,
            "width": 3,
            "visible": on_front and any(intervals),
        },
        customdata=[point.key for point in points],
        hovertext=[_hover(point) for point in points],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def history_figure(section: Section) -> go.Figure:
    """The hypervolume after each finished trial."""
    steps = section.history
    figure = go.Figure()
    hover = [
        f"{step.finished}. {escape(step.name)}<br>hypervolume {step.hypervolume:.4g}<br>front: {step.front}"
        for step in steps
    ]
    figure.add_scatter(
        x=[step.finished for step in steps],
        y=[step.hypervolume for step in steps],
        mode="lines+markers",
        line={"shape": "hv", "width": 2, "color": SHADES["searched"]},
        marker=_origin_markers(section),
        hovertext=hover,
        hovertemplate="%{hovertext}<extra></extra>",
    )
    lay_out(figure, "finished trials", "hypervolume", "hypervolume over finished trials")
    _count_axis(figure, len(steps))
    figure.update_yaxes(range=_span([0.0, *(step.hypervolume for step in steps)]))
    return figure


def progress_figure(section: Section) -> go.Figure:
    """Each trial's score in the order in which they finished, and the best so far."""
    steps = section.history
    best = [max(step.score for step in steps[: place + 1]) for place in range(len(steps))]
    figure = go.Figure()
    figure.add_scatter(
        x=[step.finished for step in steps],
        y=best,
        mode="lines",
        line={"shape": "hv", "width": 1.5, "color": SHADES["muted"], "dash": "dot"},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[step.finished for step in steps],
        y=[step.score for step in steps],
        mode="markers",
        marker=_origin_markers(section),
        hovertext=[f"{step.finished}. {escape(step.name)}<br>score {step.score:.3f}" for step in steps],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    lay_out(figure, "finished trials", "score", "score of each trial in the order of finishing")
    _count_axis(figure, len(steps))
    figure.update_yaxes(range=_span([step.score for step in steps]))
    return figure


def trust_figure(trust: Trust) -> go.Figure:
    """Kendall's tau of every measure with the reference, the ceiling as a line, its interval as a band."""
    figure = go.Figure()
    rows = [row for row in trust.rows[::-1] if row.tau]
    spans = [row.tau for row in rows if row.tau]
    shades = [SHADES[_trust_shade(row)] for row in rows]
    figure.add_bar(
        orientation="h",
        y=[row.name for row in rows],
        x=[span.value for span in spans],
        marker={"color": shades},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [span.high - span.value for span in spans],
            "arrayminus": [span.value - span.low for span in spans],
            "color": SHADES["ink"],
            "thickness": 1,
            "width": 3,
        },
        hovertext=[_trust_hover(row) for row in rows],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    lay_out(figure, "Kendall's tau with the reference", "", "tau of every measure with the reference")
    figure.update_layout(bargap=0.35)
    figure.update_yaxes(showgrid=False, ticks="", tickfont={"size": 12}, title=None)
    edges = [edge for span in (*spans, trust.ceiling) if span for edge in span]
    figure.update_xaxes(range=[min(-0.02, *edges) - 0.02, max(edges) + 0.04])
    if trust.ceiling:
        value, low, high = trust.ceiling
        figure.add_vrect(x0=low, x1=high, fillcolor=SHADES["published_pale"], opacity=0.35, line_width=0, layer="below")
        figure.add_vline(x=value, line={"color": SHADES["published"], "width": 2, "dash": "dash"})
    return figure


def _trust_shade(row: TrustRow) -> str:
    return "searched_pale" if row.same_seed else "searched"


def _trust_hover(row: TrustRow) -> str:
    lines = [f"<b>{escape(row.name)}</b>", f"{row.n} architectures"]
    named = {
        "tau": row.tau,
        "Spearman": row.spearman,
        "of the ceiling": row.of_ceiling,
        "over parameters": row.above_params,
        "over MACs": row.above_macs,
    }
    return "<br>".join(
        [*lines, *(f"{name} {span.value:.2f}{_brackets(span, 2)}" for name, span in named.items() if span)]
    )


def agreement_figure(trust: Trust) -> go.Figure:
    """The reference's score over what the shown measure says; a whisker spans the reference's seeds."""
    figure = go.Figure()
    means = [sum(point.reference) / len(point.reference) for point in trust.points]
    figure.add_scatter(
        x=[point.value for point in trust.points],
        y=means,
        mode="markers",
        marker={"size": 8, "color": SHADES["searched"]},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [max(p.reference) - mean for p, mean in zip(trust.points, means, strict=True)],
            "arrayminus": [mean - min(p.reference) for p, mean in zip(trust.points, means, strict=True)],
            "color": SHADES["searched_pale"],
            "thickness": 1.5,
            "width": 3,
        },
        hovertext=[
            f"<b>{escape(point.name)}</b><br>{escape(trust.shown)} {point.value:.4g}<br>reference "
            + ", ".join(f"{score:.3f}" for score in point.reference)
            for point in trust.points
        ],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    lay_out(figure, trust.shown, "score of the reference", f"the reference over {trust.shown}")
    return figure


# ---------------------------------------------------------------------------------------------------------------------
# layout


def lay_out(figure: go.Figure, x: str, y: str, name: str) -> None:
    """Give a figure the look of the page: its axes have these titles; `name` is for those who do not see it."""
    figure.update_layout(
        meta={"name": name},
        height=400,
        margin={"l": 58, "r": 16, "t": 30, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="#ffffff",
        font={"family": FONT, "size": 13, "color": SHADES["ink"]},
        showlegend=False,
        hovermode="closest",
        hoverlabel={
            "align": "left",
            "bgcolor": "#ffffff",
            "bordercolor": SHADES["muted"],
            "font": {"size": 12, "color": SHADES["ink"]},
        },
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": SHADES["muted"], "activecolor": SHADES["searched"]},
    )
    axis = {
        "showgrid": True,
        "gridcolor": SHADES["grid"],
        "zeroline": False,
        "showline": True,
        "linecolor": SHADES["muted"],
        "ticks": "outside",
        "tickcolor": SHADES["muted"],
        "automargin": True,
    }
    figure.update_xaxes(title={"text": x, "standoff": 8}, **axis)
    figure.update_yaxes(title={"text": y, "standoff": 8}, **axis)


def _count_axis(figure: go.Figure, count: int) -> None:
    step = next(s for k in range(12) for s in (10**k, 2 * 10**k, 5 * 10**k) if count / s <= 8)
    figure.update_xaxes(range=[0.4, count + 0.6], dtick=step, tick0=0, tickformat="d")


def _origin_markers(section: Section) -> dict[str, object]:
    published = [step.origin == "published" for step in section.history]
    return {
        "size": 7,
        "symbol": ["diamond" if one else "circle" for one in published],
        "color": [SHADES["published" if one else "searched"] for one in published],
    }


def _span(values: Sequence[float]) -> list[float]:
    """An axis around some values that are never negative: a twelfth of air on both sides, and never of no height."""
    low, high = min(values), max(values)
    air = max((high - low) / 12, 0.005 * max(high, 1.0))
    return [low - air if low - air > 0 else -air / 3, high + air]


def _ticks(values: Sequence[float]) -> tuple[list[float], list[str]]:
    """Round numbers around some costs, at least three inside: 100M, 200M, 500M on wide axes, finer ones on narrow."""
    low, high = min(values) * 0.93, max(values) * 1.07
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    places: list[float] = []
    for digits in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)):
        places = [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]
        if len(places) >= 3:
            break
    else:  # so narrow that the axis is as good as linear
        unit = 10.0 ** math.floor(math.log10(high - low))
        step = next(step for step in (unit / 5, unit / 2, unit, 2 * unit, 5 * unit) if (high - low) / step <= 6)
        places = [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return places, [format_cost(place) for place in places]


def _name_places(
    points: Sequence[Point], measure: str, cost: str, across: Sequence[float], up: Sequence[float]
) -> dict[str, str]:
    """By key: where the name of each published point stands."""

    def share(price: float, value: float) -> tuple[float, float]:
        return (math.log10(price) - across[0]) / (across[1] - across[0]), (value - up[0]) / (up[1] - up[0])

    drawn = [
        (point, value) for point in points if cost in point.costs and (value := _value(point, measure)) is not None
    ]
    steps = staircase(points, measure, cost)
    marks = [
        share(point.costs[cost], at)
        for point, value in drawn
        for edge in _edges(point, measure)  # the whiskers' ends, and halfway there
        for at in (edge, (edge + value) / 2)
    ]
    for (price, value), (next_price, _) in pairwise(steps):  # the dotted line, in twelve dots
        marks += [share(price * (next_price / price) ** (dot / 12), value) for dot in range(12)]
    named = [(point, *share(point.costs[cost], value)) for point, value in drawn if point.origin == "published"]
    places = _text_places([(right, high, point.title) for point, right, high in named], marks)
    return {point.key: "top center" for point in points} | {
        p.key: at for (p, *_), at in zip(named, places, strict=True)
    }


# where a name may stand: left of the point, across it or right (-1, 0, 1), and above it, level or below (1, 0, -1)
_SIDES = {
    "top center": (0, 1),
    "bottom center": (0, -1),
    "middle right": (1, 0),
    "middle left": (-1, 0),
    "top right": (1, 1),
    "top left": (-1, 1),
    "bottom right": (1, -1),
    "bottom left": (-1, -1),
}
_LETTER, _LINE, _GAP = (0.016, 0.055, 0.017)  # of a name, as shares of the figure's width, height and both


def _text_places(named: Sequence[tuple[float, float, str]], points: Sequence[tuple[float, float]]) -> list[str]:
    """Where to write each name so that it covers no other name, few points, and stays inside.

    Args:
        named: (across, up, name); places are shares of the figure, 0..1.
        points: everything that is drawn.
    """
    taken: list[tuple[float, float, float, float]] = []
    places = []
    for across, up, name in named:
        boxes = {}
        for place, (side, level) in _SIDES.items():
            left = across + side * _GAP - (1 - side) / 2 * _LETTER * len(name)
            low = up + level * 2 * _GAP - (1 - level) / 2 * _LINE
            boxes[place] = (left, low, left + _LETTER * len(name), low + _LINE)
        costs = {place: _crowd(box, taken, points) for place, box in boxes.items()}
        best = min(costs, key=lambda place: costs[place])
        taken.append(boxes[best])
        places.append(best)
    return places


def _crowd(
    box: tuple[float, float, float, float],
    taken: Sequence[tuple[float, float, float, float]],
    points: Sequence[tuple[float, float]],
) -> float:
    left, low, right, high = box
    outside = max(0.0, -left, right - 1, -low, high - 1)
    names = sum(left < r and a < right and low < h and b < high for a, b, r, h in taken)
    covered = sum(left < x < right and low < y < high for x, y in points)
    return 100 * outside + 10 * names + covered


# ---------------------------------------------------------------------------------------------------------------------
# one point


def _value(point: Point, measure: str) -> float | None:
    return point.score if measure == "score" else point.ap


def _interval(point: Point, measure: str) -> Interval | None:
    return point.score_interval if measure == "score" else point.ap_interval


def _edges(point: Point, measure: str) -> list[float]:
    value, interval = _value(point, measure), _interval(point, measure)
    return [] if value is None else [value, *(interval if interval and point.on_front else ())]


def _above(value: float | None, interval: Interval | None) -> float:
    return max(0.0, interval.high - value) if interval and value is not None else 0.0


def _below(value: float | None, interval: Interval | None) -> float:
    return max(0.0, value - interval.low) if interval and value is not None else 0.0


def _hover(point: Point) -> str:
    """What a reader sees above a point; names come from cards, so that they are escaped."""
    lines = [f"<b>{escape(point.name)}</b>  {escape(point.key)}"]
    lines += [escape(line) for line in (*point.network.split(", "), *point.stages)]
    lines.append(f"score {point.score:.3f}{_brackets(point.score_interval)}")
    lines.append("AP not measured" if point.ap is None else f"AP {point.ap:.3f}{_brackets(point.ap_interval)}")
    lines.append(", ".join(f"{format_cost(point.costs[c])} {COSTS[c]}" for c in ("params", "macs") if c in point.costs))
    source = "published" if point.origin == "published" else f"proposed by the {escape(point.origin)}"
    lines.append(f"{source}, trained {format_seconds(point.seconds)}")
    if point.on_front:
        lines.append(
            "on the front" + (f", within noise of {len(point.within_noise)} more" if point.within_noise else "")
        )
    return "<br>".join(lines)


def _brackets(interval: Interval | Span | None, digits: int = 3) -> str:
    return f" [{interval.low:.{digits}f}, {interval.high:.{digits}f}]" if interval else ""
