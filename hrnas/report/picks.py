"""Pick from a study's front, and say why each was picked: `hrnas front --pick` and `hrnas retrain`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from hrnas.pareto import oriented_reference
from hrnas.picks import best_within, even_budgets, knee_distances, knees, spread
from hrnas.reading import UserError
from hrnas.report.facts import Point, Section, StudyFacts, train_command, whole
from hrnas.report.words import COSTS, SCORES, align, format_cost

__all__ = ["Budgets", "How", "Pick", "format_picks", "pick_points", "picks_document"]

How = Literal["knee", "budget", "spread"]


class Budgets(NamedTuple):
    """Upper limits of one cost, in its own unit."""

    cost: str
    amounts: tuple[float, ...]


class Pick(NamedTuple):
    """One trial that was picked."""

    point: Point
    why: str


def pick_points(facts: StudyFacts, how: How, count: int, budgets: Budgets | None = None) -> tuple[Pick, ...]:
    """Pick trials of the section that is looked at first; fewer than asked for where there are no more to pick.

    Knees and spreads are of the front. The best score within a budget may lie off it, where the budget is of a cost
    that is no goal.

    Args:
        count: how many; with `budget` how many budgets to lay evenly where none are given.

    Raises:
        UserError: no trial has finished, or no trial is within a budget, or the budgets' cost is not known.
    """
    section = facts.main
    if section is None:
        raise UserError(f"{facts.name}: no trial has finished yet, so that there is nothing to pick from")
    if how == "budget":
        return _best_within(section, budgets or _even_budgets(section, count))
    front = [point for point in section.points if point.on_front]
    values = [oriented_reference(section.goals, _known(point)) for point in front]
    if how == "knee":
        distances = knee_distances(values)
        chord = "chord" if len(section.goals) == 2 else "plane"
        return tuple(
            Pick(front[index], f"{distances[index]:.3f} before the {chord} between the front's ends")
            for index in knees(values, count)
        )
    return tuple(Pick(front[index], "even cover of the front") for index in spread(values, count))


def _even_budgets(section: Section, count: int) -> Budgets:
    """So many budgets of the first goal that is a cost, over the range of the front."""
    cost = next((goal for goal in section.goals if goal not in SCORES), None)
    if cost is None:
        raise UserError("--pick budget: the study has no cost among its goals; say one, such as --budget macs=200M")
    return Budgets(cost, tuple(even_budgets([p.costs[cost] for p in section.points if p.on_front], count)))


def _best_within(section: Section, budgets: Budgets) -> tuple[Pick, ...]:
    cost = budgets.cost
    points = [point for point in section.points if cost in point.costs]
    if not points:
        there = ", ".join(dict.fromkeys(name for point in section.points for name in point.costs))
        raise UserError(f"--budget: this study did not count {cost}; there are: {there}")
    scores, costs = [point.score for point in points], [point.costs[cost] for point in points]
    met: dict[int, list[str]] = {}
    for amount in sorted(budgets.amounts):
        found = best_within(scores, costs, amount)
        if found is None:
            raise UserError(
                f"--budget: no trial has {cost} <= {format_cost(amount)}; the least is {format_cost(min(costs))}"
            )
        met.setdefault(found, []).append(format_cost(amount))
    return tuple(
        Pick(points[found], f"best score with {COSTS.get(cost, cost)} <= {' and <= '.join(amounts)}")
        for found, amounts in met.items()
    )


def _known(point: Point) -> dict[str, float]:
    return {**point.costs, "score": point.score, **({} if point.ap is None else {"ap": point.ap})}


# ---------------------------------------------------------------------------------------------------------------------
# shown


def format_picks(facts: StudyFacts, picks: Sequence[Pick]) -> str:
    """The picks as text for a terminal, one line each."""
    head = ("key", "title", "score", "AP", "params", "MACs", "why")
    lines = [
        (
            point.key,
            point.title or "-",
            f"{point.score:.3f}",
            "-" if point.ap is None else f"{point.ap:.3f}",
            format_cost(point.costs.get("params")),
            format_cost(point.costs.get("macs")),
            why,
        )
        for point, why in picks
    ]
    label = facts.main.label if facts.main else ""
    return "\n".join([f"{facts.name}: {len(picks)} picked, {label}", *align([head, *lines], words={0, 1, 6})])


def picks_document(facts: StudyFacts, picks: Sequence[Pick], study: str | None = None) -> dict[str, Any]:
    """The picks as one JSON document: counts are integers, scores 0..1.

    Args:
        study: how the command line finds the study, for the commands; by default the study's name.
    """
    return {
        "study": facts.name,
        "setting": facts.main.setting._asdict() if facts.main else None,
        "goals": facts.main.goals if facts.main else facts.card.get("goals"),
        "picks": [
            {
                "key": point.key,
                "title": point.title,
                "why": why,
                "score": point.score,
                "ap": point.ap,
                "params": whole(point.costs.get("params")),
                "macs": whole(point.costs.get("macs")),
                "command": train_command(facts, point.key, study),
            }
            for point, why in picks
        ],
    }
