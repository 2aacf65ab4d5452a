"""Who may climb: asynchronous successive halving over rungs of budget, for several goals at once.

Every feasible architecture is measured on rung 0; the best share of each rung goes on to the next as soon as it is
known to be among the best. After Li et al., ASHA (MLSys 2020), algorithm 2, with hypervolume in place of the loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hrnas.cards.study import StudyCard
from hrnas.ledger import Evaluation, Trial
from hrnas.pareto import contributions, oriented, oriented_reference, ranks, reference_point


def next_promotion(trials: Sequence[Trial], card: StudyCard, seed: int) -> tuple[Trial, int] | None:
    """The trial to measure on a higher rung next, and that rung; the highest rung first. `None` when all may rest."""
    for rung in reversed(range(1, len(card.ladder))):
        finished = _measured_on(trials, card.ladder[rung - 1].fidelity, rung - 1, seed)
        allowed = int(len(finished) * card.keep + 1e-9)
        for trial in rank_trials(finished, card)[:allowed]:
            if not any(e.identity.rung == rung and e.identity.seed == seed for e in trial.evaluations):
                return trial, rung
    return None


def rank_trials(found: Sequence[tuple[Trial, Evaluation]], card: StudyCard) -> list[Trial]:
    """Best first: front by front, in each front by the hypervolume that would be lost without the trial.

    Costs are exact on every rung, so that the smallest networks are always on the first front, however poor: their
    small share of the hypervolume (none at all below the reference's score) puts them at its end.
    """
    if not found:
        return []
    reference = reference_point(card.goals, card.reference, card.limits, [trial for trial, _ in found])
    values = oriented(found, card.goals)
    corner = oriented_reference(card.goals, reference)
    front = ranks(values)
    share = np.zeros(len(found))
    for level in range(int(front.max()) + 1):
        members = np.flatnonzero(front == level)
        share[members] = contributions(values[members], corner)
    first_goal = values[:, 0]
    order = sorted(range(len(found)), key=lambda i: (front[i], -share[i], first_goal[i], found[i][0].number))
    return [found[index][0] for index in order]


def _measured_on(trials: Sequence[Trial], fidelity: str, rung: int, seed: int) -> list[tuple[Trial, Evaluation]]:
    return [
        (trial, evaluation)
        for trial in trials
        for evaluation in trial.evaluations
        if evaluation.state == "done"
        and (evaluation.identity.fidelity, evaluation.identity.rung, evaluation.identity.seed) == (fidelity, rung, seed)
    ]
