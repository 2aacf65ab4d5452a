"""Replay a study with early stopping on recorded trainings: what a ladder saves, and what it costs.

The table has the score after every epoch, at a constant rate, so that what was trained for e epochs is what a training
of e epochs gives: a rung of the ladder reads its epoch there. Drivers and promotions are the ones that studies have
(`hrnas.search.drivers`, `hrnas.search.ladder`); only the training is not done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hrnas.bench.problems import Problem, RecordedTraining
from hrnas.cards.study import StudyCard
from hrnas.ledger import Evaluation, Identity, Trial
from hrnas.pareto import hypervolume
from hrnas.search.drivers import Ask, Told, make_driver, seed_of_ask
from hrnas.search.ladder import next_promotion
from hrnas.space.genome import Genome

__all__ = ["Replay", "ladder_card", "replay"]


@dataclass(frozen=True)
class Replay:
    """One replayed study.

    Attributes:
        epochs: trained in all, each epoch of each network once.
        finished: networks that were trained to the end.
        hypervolume: of these, as a share of that of all recorded networks' front.
    """

    seed: int
    epochs: int
    finished: int
    hypervolume: float


def ladder_card(
    problem: Problem, driver: Mapping[str, Any], epochs: Sequence[int], trials: int, **options: Any
) -> StudyCard:
    """A study on recorded trainings.

    Args:
        epochs: of each rung, in all.
        options: further fields of the card, such as `keep`.
    """
    return StudyCard.model_validate(
        {
            "name": problem.name,
            "space": problem.space.name,
            "trainer": "none",
            "goals": dict(problem.goals),
            "reference": dict(problem.reference),
            "driver": dict(driver),
            "ladder": [{"epochs": count} for count in epochs],
            "trials": trials,
            "published": "none",
            **options,
        }
    )


def replay(problem: Problem, trained: Mapping[Genome, RecordedTraining], card: StudyCard) -> Replay:
    """Run a study to its end, as one worker would.

    Args:
        trained: the recorded training of each network of the problem.
        card: from `ladder_card`; its driver's seed is the replay's.
    """
    seed = card.driver.seed
    driver = make_driver(card, problem.space, problem.costs)
    trials: list[Trial] = []
    asks: list[Ask] = []
    seen: set[Genome] = set()
    while True:
        job = next_promotion(trials, card, seed, closing=len(trials) == card.trials)
        if job is not None:
            trial, rung = job
        elif len(trials) < card.trials:
            asks.append(driver.ask(seed_of_ask(seed, len(trials))))
            genome = problem.answer(asks[-1].genome, seen).genome
            seen.add(genome)
            trial = Trial(len(trials), trained[genome].key, {}, genome, trained[genome].costs, "driver", "", ())
            trials.append(trial)
            rung = 0
        else:
            break
        trial = trials[trial.number] = _measured(trial, trained[trial.genome], card, rung)
        driver.tell(Told(trial.number, trial.genome, "measured", _values(trial, card), state=asks[trial.number].state))
    ends = [trial for trial in trials if len(trial.evaluations) == len(card.ladder)]
    values = problem.oriented([_values(trial, card) for trial in ends])
    volume = hypervolume(values, problem.corner) / hypervolume(problem.best_known, problem.corner)
    epochs = sum(card.ladder[len(trial.evaluations) - 1].epochs or 0 for trial in trials)
    return Replay(seed, epochs, len(ends), volume)


def _measured(trial: Trial, training: RecordedTraining, card: StudyCard, rung: int) -> Trial:
    epoch = (card.ladder[rung].epochs or 0) - 1
    identity = Identity(trial.key, card.ladder[rung].fidelity, rung, "", "", "", card.driver.seed)
    scores = {"score": training.scores[epoch], "ap": training.aps[epoch]}
    evaluation = Evaluation(
        id=len(card.ladder) * trial.number + rung,
        identity=identity,
        attempt=1,
        state="done",
        owner="",
        heartbeat=0.0,
        scores=scores,
        seconds=None,
        reason="",
        started=0.0,
        finished=0.0,
    )
    return replace(trial, evaluations=(*trial.evaluations, evaluation))


def _values(trial: Trial, card: StudyCard) -> dict[str, float]:
    known = {**trial.costs, **trial.evaluations[-1].scores}
    return {goal: float(known[goal]) for goal in card.goals}
