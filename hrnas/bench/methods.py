"""Ways to search a recorded problem: every driver of hrnas, and what people do without it.

| method | what it is |
|---|---|
| `random`, `optuna_tpe`, ... | a driver of hrnas; what it proposes a second time costs nothing, as in a study |
| `random_predictor`, ... | the same with `predictor: on` |
| `optuna_alone` | Optuna's default sampler without hrnas: genes are categories, costs plain, repeats evaluated |
| `random_repeating` | uniform draws, each evaluated, also the second time |
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from hrnas.bench.problems import Problem
from hrnas.cards import drivers as options
from hrnas.cards.study import StudyCard
from hrnas.reading import UserError
from hrnas.search.drivers import Ask, Told, make_driver, seed_of_ask
from hrnas.search.study import PATIENCE
from hrnas.space.genome import Genome

__all__ = ["Method", "default_method", "driver_options", "find_methods", "known_methods", "usual_methods"]

SLOW = {"optuna_gp"}  # more than a minute for 200 evaluations
PREDICTOR = "_predictor"  # at the end of the name of a driver with a model before it

Values = dict[str, float]
Method = Callable[[Problem, int], Iterator[Values]]  # (problem, seed) -> the values of each evaluation, without end


def known_methods() -> dict[str, Method]:
    """Every way there is here, by name; NNI's tuners where it is installed."""
    drivers = {
        name: partial(search_with_driver, driver)
        for name, driver in driver_options().items()
        if driver["kind"] != "nni" or find_spec("nni")
    }
    return {**drivers, "optuna_alone": search_with_optuna_alone, "random_repeating": search_randomly}


def usual_methods() -> list[str]:
    """Those that a comparison takes where none is named: all but the slow ones and those with a model before them."""
    return [name for name in known_methods() if name not in SLOW and not name.endswith(PREDICTOR)]


def find_methods(names: Iterable[str]) -> dict[str, Method]:
    """The methods of these names.

    Raises:
        UserError: one of them does not exist.
    """
    known, found = known_methods(), {}
    for name in names:
        if name not in known:
            extra = "; NNI's need the extra `nni`" if name.startswith("nni") else ""
            raise UserError(f"there is no method '{name}'; there are: {', '.join(known)}{extra}")
        found[name] = known[name]
    return found


def default_method() -> str:
    """The name of the driver that a study has when its card says nothing."""
    driver = StudyCard.model_fields["driver"].default.model_dump()
    return next(name for name, given in driver_options().items() if given.items() <= driver.items())


def driver_options() -> dict[str, dict[str, Any]]:
    """What a card says of each driver, by method: of each sampler or tuner, and of each with a model before it."""
    found: dict[str, dict[str, Any]] = {}
    for model in typing.get_args(typing.get_args(options.Driver)[0]):
        fields = model.model_fields
        (kind,) = typing.get_args(fields["kind"].annotation)
        inner = next((name for name in ("sampler", "tuner") if name in fields), None)
        choices = typing.get_args(fields[inner].annotation) if inner else ("",)
        for choice in choices:
            name = f"{kind}_{choice}" if inner else kind
            found[name] = {"kind": kind, inner: choice} if inner else {"kind": kind}
            if "predictor" in fields:
                found[name + PREDICTOR] = {**found[name], "predictor": True}
    return found


def search_with_driver(driver: Mapping[str, Any], problem: Problem, seed: int) -> Iterator[Values]:
    """One of our drivers, in memory: no ledger, no files; asked and told as a study with one worker does it."""
    card = StudyCard.model_validate(
        {
            "name": problem.name,
            "space": problem.space.name,
            "trainer": "none",
            "goals": dict(problem.goals),
            "reference": dict(problem.reference),
            "driver": {**driver, "seed": seed},
            "ladder": [{"epochs": 1}],
            "trials": problem.evaluations,
            "published": "none",
        }
    )
    asked = make_driver(card, problem.space, problem.costs)
    known: dict[Genome, Values] = {}
    number = useless = 0
    while True:
        dice = seed_of_ask(seed, number)
        # as a study does it: a driver that only repeats itself is helped out with a network that nobody proposed
        ask = asked.ask(dice) if useless < PATIENCE else Ask(problem.space.sample(np.random.default_rng(dice)))
        genome, values = problem.answer(ask.genome, known.keys())
        asked.tell(Told(number, genome, "measured", values, state=ask.state))
        number += 1
        useless = useless + 1 if genome in known else 0
        if genome not in known:
            known[genome] = values
            yield values


def search_with_optuna_alone(problem: Problem, seed: int) -> Iterator[Values]:
    """What somebody writes who uses Optuna as its manual shows it: `create_study(directions=...)`, then categories."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ways = [*problem.goals.values()]
    usual = type(optuna.create_study(directions=ways).sampler)
    study = optuna.create_study(directions=ways, sampler=usual(seed=seed))  # type: ignore[call-arg]
    seen: set[Genome] = set()
    while True:
        trial = study.ask()
        genome = tuple(trial.suggest_categorical(gene.path, [*range(gene.size)]) for gene in problem.space.genes)
        answer = problem.answer(problem.space.canonical(genome), seen)
        seen.add(answer.genome)
        study.tell(trial, [answer.values[goal] for goal in problem.goals])
        yield answer.values


def search_randomly(problem: Problem, seed: int) -> Iterator[Values]:
    """Draw, evaluate, and draw again, whatever was drawn before."""
    rng = np.random.default_rng(seed)
    while True:
        yield problem.answer(problem.space.sample(rng), frozenset()).values
