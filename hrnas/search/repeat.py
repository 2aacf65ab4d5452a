"""Measure a finished trial again with other seeds: how much of a score is luck?

A claim that one network beats another needs several seeds, and a proxy is worth something only when architectures
differ by more than seeds do. The front goes on counting the study's own seed; the report shows the spread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hrnas.cards.study import StudyCard
from hrnas.cards.trainer import Recipe
from hrnas.ledger import Evaluation, Identity, Ledger, Trial
from hrnas.names import LEDGER_FILE
from hrnas.reading import UserError
from hrnas.search.study import conditions_of, identity_of
from hrnas.search.worker import Evaluator, is_alive, measure, this_owner
from hrnas.space.architecture import Architecture


@dataclass(frozen=True)
class Repeated:
    """What is known of a trial after it was repeated.

    Attributes:
        done: the evaluations on the trial's highest rung, the study's own among them; one for each seed.
        missing: the seeds asked for that have no such evaluation, each with the reason.
    """

    done: tuple[Evaluation, ...]
    missing: dict[int, str]


def repeat_trial(
    card: StudyCard,
    folder: Path,
    key: str,
    seeds: Sequence[int],
    evaluators: Mapping[str, Evaluator],
    recipe: Recipe,
    on_progress: Callable[[dict[str, Any]], None] = lambda progress: None,
) -> Repeated:
    """Let a trial climb the ladder as far as it got, once more with each seed; seeds that were done before are kept.

    A seed that fails on a rung goes no further, and is said to be missing.

    Raises:
        UserError: the study has no such trial, it did not finish, or input, data or recipe are others now.
    """
    ledger = Ledger.open(card.ledger or folder / LEDGER_FILE, study=card.name)
    try:
        ledger.recover(is_alive)
        trial = _find(ledger, key)
        own = trial.final
        if own is None:
            raise UserError(f"{card.name}#{key}: this trial has no finished evaluation to repeat")
        conditions = conditions_of(card, recipe, folder)
        for name in ("input", "data", "recipe"):
            then, now = getattr(own.identity, name), getattr(conditions, name)
            if then != now:
                raise UserError(
                    f"{card.name}#{key}: its cards or data have changed since: {name} was {then}, is now {now}; "
                    "scores of both cannot be compared"
                )
        architecture = Architecture.from_tree(trial.architecture, source=f"{card.name}#{key}")
        missing: dict[int, str] = {}
        for seed in seeds:
            for rung in range(own.identity.rung + 1):
                identity = identity_of(card, replace(conditions, seed=seed), key, rung)
                claim = ledger.claim(identity, this_owner())
                if claim is not None:
                    evaluator, limit = evaluators[identity.fidelity], card.time_limit
                    where = folder / "checkpoints" / key
                    measure(ledger, claim, architecture, card.ladder[rung], evaluator, where, on_progress, limit)
                if reason := _why_not_done(_find(ledger, key), identity):
                    missing[seed] = reason
                    break
        top = replace(own.identity, seed=0)
        found = _find(ledger, key).evaluations
        return Repeated(tuple(e for e in found if replace(e.identity, seed=0) == top and e.state == "done"), missing)
    finally:
        ledger.close()


def _why_not_done(trial: Trial, identity: Identity) -> str:
    """What became of an evaluation that has no score; empty when it has one."""
    last = [evaluation for evaluation in trial.evaluations if evaluation.identity == identity][-1]
    if last.state == "running":
        return f"{last.owner.rsplit(':', 1)[0]} (machine:process) is measuring it"
    return "" if last.state == "done" else f"{last.state}: {last.reason}"


def _find(ledger: Ledger, key: str) -> Trial:
    for trial in ledger.trials():
        if trial.key == key:
            return trial
    raise UserError(f"the study has no trial {key}")
