"""Say what a study's figures allow one to say, and what they do not: plain sentences for the top of the page."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hrnas.report.words import COSTS, count, describe_goals, describe_range, format_cost

if TYPE_CHECKING:
    from hrnas.report.facts import Interval, Point, Section, Setting, StudyFacts

__all__ = ["caveats", "summary"]

SEEDS_FOR_A_CLAIM = 3
BLIND = 0.01  # an AP that tells nothing of a network but that it was trained too little
CHANCE = 0.05  # three seeds against three reach it when all of the one lie above all of the other: 1 way of 20
SHARED = ("space", "trainer", "data", "input", "goals", "limits", "ladder", "trials")  # by two searches to be compared


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


def caveats(sections: Sequence[Section], card: Mapping[str, Any], rival: StudyFacts | None = None) -> tuple[str, ...]:
    """What is not yet checked, and what could be chance.

    Args:
        rival: the study that the winner is held against, usually a random search.
    """
    if not sections:
        return ()
    main = sections[0]
    best = max(main.points, key=lambda point: point.score)
    return tuple(
        text
        for text in (
            _against_random(best, sections, card) if rival is None else _against(best, sections, card, rival),
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
            "winner of random search at equal cost; `hrnas report --against` compares them."
        )
    full = [p for s in sections if s.setting.fidelity == "full" for p in s.points if p.key == best.key]
    scores = [score for _, score in full[0].seed_scores] if full else []
    if scores:
        text += f"The winner was retrained in full with {count(len(scores), 'seed')}: score {describe_range(scores)}. "
    return f"{text}{asked} Such a claim needs {SEEDS_FOR_A_CLAIM} seeds of each."


def _against(best: Point, sections: Sequence[Section], card: Mapping[str, Any], rival: StudyFacts) -> str:
    """Whether the winner, retrained with other seeds, beats the rival's winner at equal cost.

    That is the rival's best by its search's score among the trials that cost no more in any goal: both were chosen by
    what their searches saw, and the full scores of all that was chosen are compared.
    """
    kind = (rival.card.get("driver") or {}).get("kind")
    who = f"random search ({rival.name})" if kind == "random" else f"{rival.name} (driver {kind})"
    main, theirs = sections[0], rival.main
    if theirs is None or theirs.setting != main.setting:
        how = "has no finished trial" if theirs is None else f"measured otherwise: {theirs.label}"
        return f"Not to be checked: {who} {how}; this study's own are {main.label}."
    prices = [goal for goal in main.goals if goal in COSTS]
    cheap = [p for p in theirs.points if all(p.costs.get(name, math.inf) <= best.costs[name] for name in prices)]
    if not cheap:
        return (
            f"Not to be checked: no trial of {who} costs as little as the winner ({best.name}{_costs_in_words(best)})."
        )
    foe = max(cheap, key=lambda point: point.score)
    duel = f"the winner ({best.name}) beats the winner of {who} at equal cost ({foe.name}, {foe.key})"
    mine, others, label = _full_scores(best, foe, sections, rival.sections)
    if min(len(mine), len(others)) < SEEDS_FOR_A_CLAIM:
        return (
            f"Not yet checked: whether {duel}: a claim needs {SEEDS_FOR_A_CLAIM} seeds of each, trained in full by one "
            f"recipe, and there are {len(mine)} and {len(others)}; `hrnas retrain` adds them."
        )
    ways, as_far = _relabellings(mine, others)
    verdict = (
        "yes"
        if as_far <= CHANCE * ways
        else "not known"
        if statistics.fmean(mine) >= statistics.fmean(others)
        else "no"
    )
    text = (
        f"Checked: whether {duel}: {verdict}. Retrained from scratch ({label}), they score {describe_range(mine)} "
        f"({count(len(mine), 'seed')}) and {describe_range(others)} ({count(len(others), 'seed')}); of the {ways} ways "
        f"to deal these scores to two networks {as_far} put the first as far ahead. The searches had "
        f"{count(len(main.points), 'trial')} and {count(len(theirs.points), 'trial')}."
    )
    other = [name for name in SHARED if card.get(name) != rival.card.get(name)]
    return text + (f" They differ in more than the driver: {', '.join(other)}." if other else "")


def _full_scores(
    best: Point, foe: Point, sections: Sequence[Section], others: Sequence[Section]
) -> tuple[list[float], list[float], str]:
    """Both networks' scores in full training, where most seeds of both were trained in one way, and that way.

    Where the training was so short that AP tells nothing, their mean OKS.
    """

    def points(there: Sequence[Section], setting: Setting, key: str) -> list[Point]:
        return [p for section in there if section.setting == setting for p in section.points if p.key == key]

    full = [section for section in sections if section.setting.fidelity == "full"]
    found = []
    for section in full:
        pair = points(full, section.setting, best.key), points(others, section.setting, foe.key)
        mine, theirs = ([score for point in side for _, score in point.seed_scores] for side in pair)
        label, oks = section.label, [[oks for point in side for oks in point.seed_oks] for side in pair]
        if max([*mine, *theirs], default=1.0) < BLIND and [len(mine), len(theirs)] == [len(each) for each in oks]:
            mine, theirs = oks
            label += f", mean OKS because AP is below {BLIND}"
        found.append((mine, theirs, label))
    return max(found, key=lambda pair: (min(len(pair[0]), len(pair[1])), len(pair[0])), default=([], [], ""))


def _relabellings(ours: Sequence[float], others: Sequence[float]) -> tuple[int, int]:
    """In how many ways the scores can be dealt to two networks, and how many put the first as far ahead in the mean.

    The exact permutation test of Fisher, The design of experiments (1935), one-sided.
    """
    every = [*ours, *others]
    sums = [sum(dealt) for dealt in itertools.combinations(every, len(ours))]
    return len(sums), sum(dealt >= sum(ours) - 1e-12 for dealt in sums)


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
    low = sum(ap < BLIND for ap in known)
    if not known or low < len(known) / 2:
        return ""
    return (
        f"AP is below {BLIND} for {low} of {len(known)} trials: after so little training it cannot tell networks apart."
    )


def _costs_in_words(point: Point) -> str:
    parts = [f"{format_cost(point.costs[name])} {COSTS[name]}" for name in ("params", "macs") if name in point.costs]
    return f", with {' and '.join(parts)}" if parts else ""


def _with_interval(interval: Interval | None) -> str:
    return f" (bootstrap interval {interval.low:.3f} to {interval.high:.3f})" if interval else ""
