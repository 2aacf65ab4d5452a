"""Compare trials by several goals at once: who is dominated, and how much of the plane a set covers.

Arrays are (points, goals) and every goal is to be *minimised*; `oriented` turns a study's trials into such an array.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrnas.reading import UserError

if TYPE_CHECKING:
    from hrnas.ledger import Evaluation, Trial

__all__ = [
    "Floats",
    "contributions",
    "front",
    "goal_value",
    "history",
    "hypervolume",
    "measured",
    "non_dominated",
    "oriented",
    "oriented_reference",
    "ranks",
    "reference_point",
]

Floats = NDArray[np.float64]


# ---------------------------------------------------------------------------------------------------------------------
# arrays


def _matrix(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return array.reshape(0, array.shape[1] if array.ndim == 2 else 1)
    if array.ndim != 2:
        raise ValueError(f"expected an array of (points, goals), got {array.ndim} dimensions")
    if np.isnan(array).any():
        raise ValueError("not a number cannot be compared")
    return array


def non_dominated(values: ArrayLike) -> NDArray[np.bool_]:
    """Which points no other point beats; of equal points only the first.

    Args:
        values: (points, goals), minimised.

    Returns:
        (points,) of bool.
    """
    array = _matrix(values)
    kept = np.zeros(len(array), dtype=bool)
    # who dominates stands earlier in lexicographic order, and so does the first of equals
    left = np.lexsort((np.arange(len(array)), *array.T[::-1]))
    while len(left):
        kept[left[0]] = True
        left = left[(array[left] < array[left[0]]).any(axis=1)]
    return kept


def ranks(values: ArrayLike) -> NDArray[np.int64]:
    """Peel front after front: 0 for the non-dominated points, 1 for those that are so once these are gone, ...

    Equal points share a rank. Deb et al., NSGA-II (2002), section III-A.
    """
    array = _matrix(values)
    distinct, back = np.unique(array, axis=0, return_inverse=True)
    rank = np.full(len(distinct), -1, dtype=np.int64)
    left, current = np.arange(len(distinct)), 0
    if array.shape[1] == 2:  # in this order a point is dominated by a front exactly if by its last point
        last: list[float] = []
        for index, value in enumerate(distinct[:, 1].tolist()):
            rank[index] = place = bisect_right(last, value)
            last[place : place + 1] = [value]
        return rank[back.reshape(-1)]
    while len(left):
        best = non_dominated(distinct[left])
        rank[left[best]] = current
        left, current = left[~best], current + 1
    return rank[back.reshape(-1)]


def hypervolume(values: ArrayLike, reference: Sequence[float]) -> float:
    """The exact volume between a set of points and the reference: what the set dominates.

    Args:
        values: (points, goals), minimised; points that do not beat the reference in every goal add nothing.
        reference: (goals,), the worst corner.
    """
    corner = np.asarray(reference, dtype=np.float64)
    array = _matrix(values)
    if len(array) == 0:
        return 0.0
    if array.shape[1] != len(corner):
        raise ValueError(f"the points have {array.shape[1]} goals, the reference {len(corner)}")
    array = array[(array < corner).all(axis=1)]
    return _volume(array[non_dominated(array)], corner)


def _volume(points: Floats, corner: Floats) -> float:
    """Hypervolume of points that are mutually non-dominated and inside the corner.

    Two goals: one staircase. More: each point adds its own box less what the later points cover of it
    (While et al., WFG (2012)).
    """
    if len(points) == 0:
        return 0.0
    if points.shape[1] == 1:
        return float(corner[0] - points.min())
    if points.shape[1] == 2:
        stairs = points[np.argsort(points[:, 0], kind="stable")]
        heights = np.concatenate(([corner[1]], stairs[:-1, 1])) - stairs[:, 1]
        return float(((corner[0] - stairs[:, 0]) * heights).sum())
    points = points[np.argsort(-points[:, 0], kind="stable")]  # the worst first: the later ones cover most of it
    total = 0.0
    for index, point in enumerate(points):
        covered = np.maximum(points[index + 1 :], point)
        total += float(np.prod(corner - point)) - _volume(covered[non_dominated(covered)], corner)
    return total


def contributions(values: ArrayLike, reference: Sequence[float]) -> Floats:
    """How much hypervolume is lost with each point: zero for dominated ones and for one of two equals."""
    array = _matrix(values)
    whole = hypervolume(array, reference)
    own = np.zeros(len(array))
    for index in np.flatnonzero(non_dominated(array)):
        own[index] = max(0.0, whole - hypervolume(np.delete(array, index, axis=0), reference))
    return own


def history(values: ArrayLike, reference: Sequence[float]) -> list[float]:
    """The hypervolume after each of the points, in their order; it never falls."""
    array = _matrix(values)
    volumes: list[float] = []
    best = array[:0]
    for point in array:
        if (best <= point).all(axis=1).any():
            volumes.append(volumes[-1])
            continue
        best = np.vstack([best[~(point <= best).all(axis=1)], point])
        volumes.append(hypervolume(best, reference))
    return volumes


# ---------------------------------------------------------------------------------------------------------------------
# trials


def measured(trials: Sequence[Trial], fidelity: str, rung: int | None = None) -> list[tuple[Trial, Evaluation]]:
    """The trials that finished one rung of one fidelity, with the evaluation that counts there.

    Args:
        rung: the rung to compare on; by default the highest on which anything finished. Scores of different rungs,
            inputs, data or recipes were never comparable, so that mixing them is an error.

    Raises:
        UserError: the trials were measured with different inputs, data or recipes.
    """
    done = [
        (trial, evaluation)
        for trial in trials
        for evaluation in trial.evaluations
        if evaluation.state == "done" and evaluation.identity.fidelity == fidelity
    ]
    highest = max((evaluation.identity.rung for _, evaluation in done), default=0)
    level = highest if rung is None else rung
    first: dict[str, tuple[Trial, Evaluation]] = {}
    for trial, evaluation in done:
        if evaluation.identity.rung == level:
            first.setdefault(trial.key, (trial, evaluation))  # of several seeds the first that was asked for
    _require_one_way_of_measuring([evaluation for _, evaluation in first.values()])
    return list(first.values())


def _require_one_way_of_measuring(evaluations: Sequence[Evaluation]) -> None:
    for name in ("input", "data", "recipe"):
        values = sorted({getattr(evaluation.identity, name) for evaluation in evaluations})
        if len(values) > 1:
            raise UserError(
                f"these trials were measured with different {name}: {', '.join(values)}; "
                "one front compares trials of one input, data and recipe: choose one of them"
            )


def goal_value(goal: str, trial: Trial, evaluation: Evaluation) -> float:
    """A trial's value for one goal, in plain units: a score of its evaluation, or a cost of its architecture."""
    if goal in evaluation.scores:
        return float(evaluation.scores[goal])
    if goal in trial.costs:
        return float(trial.costs[goal])
    there = sorted({*evaluation.scores, *trial.costs})
    raise UserError(f"goals: trial {trial.number} has no value '{goal}'; there are: {', '.join(there)}")


def front(
    trials: Sequence[Trial], goals: Mapping[str, str], fidelity: str = "proxy", rung: int | None = None
) -> list[Trial]:
    """The trials that no other trial beats in every goal, at one fidelity and rung, in the order of their numbers.

    Args:
        goals: goal -> "maximize" or "minimize", as the study's card has them.
    """
    found = measured(trials, fidelity, rung)
    values = [[_sign(way) * goal_value(goal, *pair) for goal, way in goals.items()] for pair in found]
    return [trial for (trial, _), best in zip(found, non_dominated(values), strict=True) if best]


def oriented(found: Sequence[tuple[Trial, Evaluation]], goals: Mapping[str, str]) -> Floats:
    """(trials, goals) to be minimised: scores (they are maximised) with their sign turned, costs as log10.

    A cost spans decades, so that its plain hypervolume would be almost all about the largest networks; on a log axis a
    saving of a tenth counts the same everywhere (docs/decisions/004-hypervolume-in-decades.md).
    """
    columns = [[_axis(way, goal_value(goal, *pair), goal) for pair in found] for goal, way in goals.items()]
    return np.asarray(columns, dtype=np.float64).reshape(len(goals), len(found)).T.copy()


def oriented_reference(goals: Mapping[str, str], reference: Mapping[str, float]) -> list[float]:
    """A reference point in plain units on the axes of `oriented`."""
    return [_axis(way, reference[goal], goal) for goal, way in goals.items()]


def reference_point(
    goals: Mapping[str, str], reference: Mapping[str, float], limits: Mapping[str, float], trials: Sequence[Trial]
) -> dict[str, float]:
    """The hypervolume's reference in plain units: the card's; where it is silent, 0 for scores and the limit for costs.

    A cost without a limit takes the largest among the trials; then hypervolumes of different studies do not compare.
    """
    worst = {}
    for goal, way in goals.items():
        if way == "maximize" or goal in reference or goal in limits:
            worst[goal] = float(reference.get(goal, 0.0 if way == "maximize" else limits.get(goal, 0.0)))
        else:
            worst[goal] = float(max((trial.costs.get(goal, 0.0) for trial in trials), default=0.0) or 1.0)
    return worst


def _sign(direction: str) -> int:
    return -1 if direction == "maximize" else 1


def _axis(direction: str, value: float, goal: str) -> float:
    if direction == "maximize":
        return -value
    if value <= 0:
        raise UserError(f"{goal}: a cost must be above 0 to stand on a log axis (got {value:g})")
    return math.log10(value)
