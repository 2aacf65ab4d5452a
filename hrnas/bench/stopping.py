"""Replay a study with early stopping on recorded trainings: what a ladder saves, and what it costs.

The table has the score after every epoch, at a constant rate, so that what was trained for e epochs is what a training
of e epochs gives: a rung of the ladder reads its epoch there. Drivers and promotions are the ones that studies have
(`hrnas.search.drivers`, `hrnas.search.ladder`); only the training is not done.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from hrnas.bench.problems import Problem, RecordedTraining
from hrnas.bench.summary import markdown
from hrnas.cards.study import StudyCard
from hrnas.ledger import Evaluation, Identity, Trial
from hrnas.pareto import hypervolume
from hrnas.reading import write_atomically
from hrnas.search.drivers import Ask, Told, make_driver, seed_of_ask
from hrnas.search.ladder import next_promotion
from hrnas.space.genome import Genome

__all__ = [
    "LADDERS",
    "TRIALS",
    "Replay",
    "as_table",
    "compare_ladders",
    "ladder_card",
    "read_replays",
    "replay",
    "write_replays",
]

TRIALS = 40  # of a study; with fewer there is little to stop


class Ladder(NamedTuple):
    """The epochs of each rung, fields of the study's card, and how many of the trials it has."""

    epochs: tuple[int, ...]
    options: Mapping[str, Any] = {}
    share: float = 1.0


LADDERS: Mapping[str, Ladder] = {
    "to the end": Ladder((9,)),
    "fewer trials, to the end": Ladder((9,), share=0.35),
    **{
        f"1, 3, 9 epochs; {rule}": Ladder((1, 3, 9), {"keep": 0.45, "wait": 1, "promotion": rule})
        for rule in get_args(StudyCard.model_fields["promotion"].annotation)
    },
    "1, 3, 9 epochs; hypervolume, nobody waits": Ladder((1, 3, 9), {"keep": 0.45, "wait": 0}),
    "1, 9 epochs; hypervolume": Ladder((1, 9), {"keep": 0.25, "wait": 1}),
}


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


def compare_ladders(
    problem: Problem,
    trained: Mapping[Genome, RecordedTraining],
    driver: Mapping[str, Any],
    seeds: Sequence[int],
    trials: int = TRIALS,
    on_run: Callable[[], None] = lambda: None,
) -> dict[str, list[Replay]]:
    """Every ladder with every seed, one driver for all.

    Args:
        trials: of each study, no more than there are recorded networks.
        on_run: called after each replay.
    """
    found: dict[str, list[Replay]] = {}
    for name, ladder in LADDERS.items():
        number = int(trials * ladder.share)
        for seed in seeds:
            card = ladder_card(problem, {**driver, "seed": seed}, ladder.epochs, number, **ladder.options)
            found.setdefault(name, []).append(replay(problem, trained, card))
            on_run()
    return found


def write_replays(path: Path, replays: Mapping[str, Sequence[Replay]]) -> None:
    """One line for each replay."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("ladder", *(field.name for field in fields(Replay))))
    for name, some in replays.items():
        writer.writerows((name, each.seed, each.epochs, each.finished, f"{each.hypervolume:.4f}") for each in some)
    write_atomically(path, text.getvalue())


def read_replays(path: Path) -> dict[str, list[Replay]]:
    """What `write_replays` wrote."""
    found: dict[str, list[Replay]] = {}
    with path.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            one = Replay(int(row["seed"]), int(row["epochs"]), int(row["finished"]), float(row["hypervolume"]))
            found.setdefault(row["ladder"], []).append(one)
    return found


def as_table(replays: Mapping[str, Sequence[Replay]]) -> str:
    """What each ladder trained and what it found, as shares of what training to the end did; medians over seeds."""
    whole = _medians(next(iter(replays.values())))
    rows = []
    for name, some in replays.items():
        epochs, finished, volume = _medians(some)
        rows.append((name, f"{epochs / whole[0]:.0%}", f"{finished:.0f}", f"{volume:.3f}", f"{volume / whole[2]:.0%}"))
    return markdown(("ladder", "epochs", "finished", "hypervolume", "of training to the end"), rows)


def _medians(replays: Sequence[Replay]) -> list[float]:
    return [*np.median([(each.epochs, each.finished, each.hypervolume) for each in replays], axis=0)]


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
