"""Say what a study's figures allow one to say, and what they do not: plain sentences for the top of the page."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hrnas.report.words import COSTS, count, describe_goals, describe_range, format_cost

if TYPE_CHECKING:
    from hrnas.report.facts import Interval, Point, Section

__all__ = ["caveats", "summary"]

SEEDS_FOR_A_CLAIM = 3


def summary(finished: int, wanted: int, sections: Sequence[Section]) -> tuple[str, ...]:
    """What was done, how it was measured, and what came out of it."""
    if not sections:
        begun = f"{finished} of {wanted} trials finished, none with a value for every goal."
        return (
            begun if finished else f"No trial has finished yet; the card asks for {wanted}.",
            "Every trial that finishes adds a point to the figures: write the report again as the search goes on.",
        )
    main = sections[0]
    front = [point for point in main.points if point.on_front]
    best = max(main.points, key=lambda point: point.score)
    published = sum(point.origin == "published" for point in main.points)
    sentences = [
        f"{finished} of {wanted} trials finished.",
        f"This page compares the {count(len(main.points), 'trial')}"
        + (f" ({published} of them published)" if published else "")
        + f" measured in one and the same way: {main.label}.",
        "The score is mean OKS without a threshold (0 to 1), which still tells networks apart where training is too "
        "short for AP; AP stands beside it."
        if main.setting.fidelity != "full"
        else "The score is what the search ranked by; AP stands beside it.",
        f"The best score is {best.score:.3f}{_with_interval(best.score_interval)}"
        + (f" at AP {best.ap:.3f}" if best.ap is not None else "")
        + f", by {best.name}{_costs_in_words(best)}.",
        f"The front for {describe_goals(main.goals)} has {count(len(front), 'member')}.",
    ]
    return tuple(sentences)


def caveats(sections: Sequence[Section], card: Mapping[str, Any]) -> tuple[str, ...]:
    """What is not yet checked, and what could be chance."""
    if not sections:
        return ()
    main = sections[0]
    best = max(main.points, key=lambda point: point.score)
    return tuple(
        text
        for text in (
            _against_random(best, sections, card),
            _seed_noise(main.points),
            _picture_noise(main.points),
            _blind_ap(main.points),
        )
        if text
    )


def _against_random(best: Point, sections: Sequence[Section], card: Mapping[str, Any]) -> str:
    if (card.get("driver") or {}).get("kind") == "random":
        text = "This study is random search itself: the baseline that other studies are held against. "
        asked = f"Not yet checked: how {best.name} scores when it is retrained from scratch with other seeds."
    else:
        text = ""
        asked = (
            f"Not yet checked: whether the winner ({best.name}), retrained from scratch with other seeds, beats the "
            "winner of random search at equal cost."
        )
    full = [p for s in sections if s.setting.fidelity == "full" for p in s.points if p.key == best.key]
    scores = [score for _, score in full[0].seed_scores] if full else []
    if scores:
        text += f"The winner was retrained in full with {count(len(scores), 'seed')}: score {describe_range(scores)}. "
    return f"{text}{asked} Such a claim needs {SEEDS_FOR_A_CLAIM} seeds of each."


def _seed_noise(points: Sequence[Point]) -> str:
    repeated = [[score for _, score in point.seed_scores] for point in points if len(point.seed_scores) > 1]
    if not repeated:
        return "No trial was repeated with another seed, so how much of a difference in score is chance is not known."
    if len(points) < 2:
        return ""
    # the pooled deviation, so that trials with more seeds weigh more
    degrees = sum(len(scores) - 1 for scores in repeated)
    seeds = math.sqrt(sum(statistics.variance(scores) * (len(scores) - 1) for scores in repeated) / degrees)
    networks = statistics.stdev(point.score for point in points)
    verdict = (
        "so the ranking says more than chance"
        if networks > 2 * seeds
        else "so the ranking is hardly more than chance"
        if networks <= seeds
        else "so neighbours in the ranking may well swap places"
    )
    return (
        f"Between seeds of one network the score varies by {seeds:.3f}, between networks by {networks:.3f} (standard "
        f"deviations; {count(len(repeated), 'trial')} repeated), {verdict}."
    )


def _picture_noise(points: Sequence[Point]) -> str:
    front = [point for point in points if point.on_front]
    tied = sum(bool(point.within_noise) for point in front)
    if all(point.score_interval is None for point in front):
        return (
            "No bootstrap intervals were recorded: it is not known which front members are within noise of each other."
        )
    if not tied:
        return ""
    return (
        f"{tied} of the {len(front)} front members are within noise of another one: their bootstrap intervals over the "
        "pictures overlap."
    )


def _blind_ap(points: Sequence[Point]) -> str:
    known = [point.ap for point in points if point.ap is not None]
    low = sum(ap < 0.005 for ap in known)
    if not known or low < len(known) / 2:
        return ""
    return (
        f"AP is below 0.005 for {low} of {len(known)} trials: after so little training it cannot tell networks apart."
    )


def _costs_in_words(point: Point) -> str:
    parts = [f"{format_cost(point.costs[name])} {COSTS[name]}" for name in ("params", "macs") if name in point.costs]
    return f", with {' and '.join(parts)}" if parts else ""


def _with_interval(interval: Interval | None) -> str:
    return f" (bootstrap interval {interval.low:.3f} to {interval.high:.3f})" if interval else ""
