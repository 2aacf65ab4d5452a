"""Who may climb: asynchronous successive halving over rungs of budget, for several goals at once.

Every feasible architecture is measured on rung 0; the best share of each rung goes on to the next as soon as it is
known to be among the best. After Li et al., ASHA (MLSys 2020), algorithm 2, with rules for several goals instead of the
loss: two that Schmucker et al. compare, Multi-objective Asynchronous Successive Halving (2021), arXiv 2106.12639, and
one of our own.

    measured on a rung -> above the floor first -> front by front -> each in the order of a rule -> the first share
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hrnas.cards.study import MEASURES, StudyCard
from hrnas.ledger import Evaluation, Trial
from hrnas.pareto import Floats, hypervolume, oriented, oriented_reference, ranks, reference_point

Order = NDArray[np.int64]  # rows, best first
Rule = Callable[[Floats, Floats], Order]
Found = Sequence[tuple[Trial, Evaluation]]


def next_promotion(
    trials: Sequence[Trial], card: StudyCard, seed: int, closing: bool = False
) -> tuple[Trial, int] | None:
    """The trial to measure on a higher rung next, and that rung; the lowest rung first. `None` when all may rest.

    Lower rungs go first, so that a higher one compares as many as there are to compare: a promotion is never taken
    back, and the fewer were seen, the worse it was chosen.

    Args:
        closing: no more trials will come, so that the card's `wait` for them is over.
    """
    measured, begun = _climbed(trials, card, seed)
    if not closing and len(measured[0]) < card.wait * card.trials:
        return None
    for rung in range(1, len(card.ladder)):
        found = measured[rung - 1]
        allowed = int(len(found) * card.keep + 1e-9)
        resting = np.array([trial.number not in begun[rung] for trial, _ in found], dtype=bool)
        for index in _best_first(found, card, allowed, resting):
            return found[index][0], rung
    return None


def rank_trials(found: Found, card: StudyCard) -> list[Trial]:
    """All that were measured on a rung, the first to climb first."""
    return [found[index][0] for index in _best_first(found, card, len(found), np.ones(len(found), dtype=bool))]


def _climbed(
    trials: Sequence[Trial], card: StudyCard, seed: int
) -> tuple[list[list[tuple[Trial, Evaluation]]], list[set[int]]]:
    """For each rung, what was measured there, and the numbers of the trials of which somebody began to measure it."""
    measured: list[list[tuple[Trial, Evaluation]]] = [[] for _ in card.ladder]
    begun: list[set[int]] = [set() for _ in card.ladder]
    fidelities = [rung.fidelity for rung in card.ladder]
    for trial in trials:
        for evaluation in trial.evaluations:
            who = evaluation.identity
            if who.seed != seed or who.rung >= len(fidelities) or who.fidelity != fidelities[who.rung]:
                continue
            begun[who.rung].add(trial.number)
            if evaluation.state == "done":
                measured[who.rung].append((trial, evaluation))
    return measured, begun


def _best_first(found: Found, card: StudyCard, allowed: int, wanted: NDArray[np.bool_]) -> Iterator[int]:
    """Places in `found` of the wanted ones among the best `allowed`; a front is put into order when it is needed."""
    if not allowed or not wanted.any():
        return
    values = oriented(found, card.goals)
    scores = np.array([evaluation.scores["score"] for _, evaluation in found], dtype=np.float64)
    floor = _floor(scores, card.ladder[found[0][1].identity.rung].fidelity, card.floor)
    level = ranks(values)
    level[scores <= floor] += level.max() + 1
    corner = _corner(found, card, floor)
    order = np.argsort(level, kind="stable")
    taken = 0
    for front in np.split(order, np.flatnonzero(np.diff(level[order])) + 1):
        if taken >= allowed:
            return
        if wanted[front].any():
            front = front[np.lexsort((front, values[front, 0]))]
            best = front[PROMOTIONS[card.promotion](values[front], corner)][: allowed - taken]
            yield from (int(index) for index in best if wanted[index])
        taken += len(front)


def _floor(scores: Floats, fidelity: str, floor: float) -> float:
    """The score that counts as nothing on a rung: the card's, or below the worst where scores have no zero."""
    if fidelity not in MEASURES:
        return floor
    return float(scores.min() - max(np.ptp(scores), 1e-9))


def _corner(found: Found, card: StudyCard, floor: float) -> Floats:
    """The worst corner of a rung.

    The card's reference is for scores at the end of training; those of a lower rung have not come so far, and would
    count for nothing. So on the way a score counts from the floor.
    """
    scores: Mapping[str, float] = {goal: floor for goal, way in card.goals.items() if way == "maximize"}
    reference = reference_point(card.goals, {**card.reference, **scores}, card.limits, [trial for trial, _ in found])
    return np.asarray(oriented_reference(card.goals, reference))


# ---------------------------------------------------------------------------------------------------------------------
# the order of one front: (points, goals) to be minimised, the best of the first goal first; and the worst corner


def hypervolume_order(front: Floats, corner: Floats) -> Order:
    """Each next one adds the most hypervolume to those before it.

    Costs are exact on every rung, so that the smallest networks are always on the first front, however poor; but what
    they add is small. Of two neighbours only one stands in front, where a ranking by what would be lost without it
    (`contributions`) puts both at the end.
    """
    if front.shape[1] != 2:
        return _greedy(front, corner)
    # the front is a staircase: what a point adds reaches to the next steps that were taken on either side
    up, right = np.full(len(front), corner[0]), np.full(len(front), corner[1])
    left = np.ones(len(front), dtype=bool)
    order = np.empty(len(front), dtype=np.int64)
    for place in range(len(front)):
        adds = np.maximum(up - front[:, 0], 0) * np.maximum(right - front[:, 1], 0)
        best = order[place] = int(np.argmax(np.where(left, adds, -1.0)))
        left[best] = False
        np.minimum(up[: best + 1], front[best, 0], out=up[: best + 1])
        np.minimum(right[best:], front[best, 1], out=right[best:])
    return order


def _greedy(front: Floats, corner: Floats) -> Order:
    """The same for any number of goals; what a point adds only shrinks, so that few have to be looked at again."""
    adds = np.maximum(corner - front, 0).prod(axis=1)
    fresh = np.ones(len(front), dtype=bool)
    order: list[int] = []
    while len(order) < len(front):
        best = int(np.argmax(adds))
        if fresh[best]:
            order.append(best)
            adds[best], fresh[:] = -1.0, False
            continue
        covered = hypervolume(np.maximum(front[order], front[best]), corner.tolist())
        adds[best] = max(float(np.maximum(corner - front[best], 0).prod()) - covered, 0.0)
        fresh[best] = True
    return np.array(order, dtype=np.int64)


def crowding_order(front: Floats, corner: Floats) -> Order:
    """The loneliest first: the ends, then by the distance between a point's neighbours in each goal.

    Deb et al., NSGA-II (2002), section III-B.
    """
    distance = np.zeros(len(front))
    for goal in front.T:
        order = np.argsort(goal, kind="stable")
        distance[order[[0, -1]]] = np.inf
        distance[order[1:-1]] += (goal[order[2:]] - goal[order[:-2]]) / (np.ptp(goal) or 1.0)
    return np.argsort(-distance, kind="stable")


def epsilon_net_order(front: Floats, corner: Floats) -> Order:
    """The best of the first goal, then always the point that is farthest from those taken, each goal from 0 to 1.

    Schmucker et al. (2021), arXiv 2106.12639.
    """
    span = np.ptp(front, axis=0)
    points = (front - front.min(axis=0)) / np.where(span > 0, span, 1.0)
    away = np.full(len(front), np.inf)
    order = np.empty(len(front), dtype=np.int64)
    for place in range(len(front)):
        best = order[place] = int(np.argmax(away))
        away = np.minimum(away, np.linalg.norm(points - points[best], axis=1))
        away[order[: place + 1]] = -1.0
    return order


PROMOTIONS: Mapping[str, Rule] = {
    "hypervolume": hypervolume_order,
    "crowding": crowding_order,
    "epsilon_net": epsilon_net_order,
}
