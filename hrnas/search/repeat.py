"""Measure a finished trial again with other seeds: how much of a score is luck?

A claim that one network beats another needs several seeds, and a proxy is worth something only when architectures
differ by more than seeds do. The front goes on counting the study's own seed; the report shows the spread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hrnas.cards.study import StudyCard
from hrnas.cards.trainer import Recipe
from hrnas.ledger import Evaluation, Ledger, Trial
from hrnas.reading import UserError
from hrnas.search.study import conditions_of, identity_of
from hrnas.search.worker import Evaluator, is_alive, measure, this_owner
from hrnas.space.architecture import Architecture


def repeat_trial(
    card: StudyCard,
    folder: Path,
    key: str,
    seeds: Sequence[int],
    evaluators: Mapping[str, Evaluator],
    recipe: Recipe,
    on_progress: Callable[[dict[str, Any]], None] = lambda progress: None,
) -> list[Evaluation]:
    """Let a trial climb the ladder as far as it got, once more with each seed; seeds that were done before are kept.

    Returns:
        the evaluations on the trial's highest rung, the study's own among them; one for each seed.

    Raises:
        UserError: the study has no such trial, it did not finish, or the recipe is another one now.
    """
    ledger = Ledger.open(card.ledger or folder / "ledger.sqlite", study=card.name)
    try:
        ledger.recover(is_alive)
        trial = _find(ledger, key)
        own = trial.final
        if own is None:
            raise UserError(f"{card.name}#{key}: this trial has no finished evaluation to repeat")
        conditions = conditions_of(card, recipe)
        if conditions.recipe != own.identity.recipe:
            raise UserError(
                f"{card.name}#{key}: the trainer card has changed since (then {own.identity.recipe}, now "
                f"{conditions.recipe}): scores of both cannot be compared"
            )
        for seed in seeds:
            for rung in range(own.identity.rung + 1):
                identity = identity_of(card, replace(conditions, seed=seed), key, rung)
                claim = ledger.claim(identity, this_owner())
                if claim is not None:
                    architecture = Architecture.from_tree(trial.architecture, source=f"{card.name}#{key}")
                    evaluator = evaluators[identity.fidelity]
                    where = folder / "checkpoints" / key
                    measure(ledger, claim, architecture, card.ladder[rung], evaluator, where, on_progress)
        top = replace(own.identity, seed=0)
        return [e for e in _find(ledger, key).evaluations if replace(e.identity, seed=0) == top and e.state == "done"]
    finally:
        ledger.close()


def _find(ledger: Ledger, key: str) -> Trial:
    for trial in ledger.trials():
        if trial.key == key:
            return trial
    raise UserError(f"the study has no trial {key}")
