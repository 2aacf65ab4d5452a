"""Propose with Optuna's samplers: TPE (multivariate), NSGA-II, NSGA-III, Gaussian processes.

Optuna's study lives in memory and is rebuilt from what the driver was told before every ask, so that an ask after a
crash is the ask that would have come without one. What a sampler keeps inside its study (a trial's generation, the
parents chosen for it) is noted in the ask's state and put back.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from hrnas.search.drivers.driver import Ask, Space, Told
from hrnas.space.genome import Gene, Genome

optuna.logging.set_verbosity(optuna.logging.WARNING)

_STATES = {
    "measured": TrialState.COMPLETE,
    "infeasible": TrialState.COMPLETE,
    "failed": TrialState.FAIL,
    "pending": TrialState.RUNNING,
}


class OptunaDriver:
    """Ask one of Optuna's samplers.

    Infeasible proposals are told as complete with constraints, duplicates as complete with the known values, failures
    as failed and what other workers still measure as running.
    """

    def __init__(
        self,
        space: Space,
        goals: Mapping[str, Literal["maximize", "minimize"]],
        sampler: str,
        population: int = 20,
        startup: int = 10,
    ) -> None:
        self._parameters = Parameters(space.genes)
        self._canonical = space.canonical
        self._goals = dict(goals)
        self._make_sampler = {
            "tpe": lambda seed: TPESampler(multivariate=True, n_startup_trials=startup, seed=seed),
            "nsga2": lambda seed: NSGAIISampler(population_size=population, seed=seed),
            "nsga3": lambda seed: NSGAIIISampler(population_size=population, seed=seed),
            "gp": lambda seed: GPSampler(n_startup_trials=startup, seed=seed, deterministic_objective=False),
        }[sampler]
        self._told: dict[int, Told] = {}
        self._trials: dict[int, FrozenTrial] = {}

    def tell(self, told: Told) -> None:
        self._told[told.number] = told
        self._trials.pop(told.number, None)

    def ask(self, seed: int) -> Ask:
        numbers = sorted(self._told)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = self._make_sampler(seed)
        study = self._rebuild(numbers, sampler)
        before = dict(study._storage.get_study_system_attrs(study._study_id))
        trial = study.ask(self._parameters.distributions)
        genome = self._canonical(self._parameters.genome(trial.params))
        return Ask(genome, self._note(study, trial.number, before, numbers))

    # -- the study in memory ------------------------------------------------------------------------------------------

    def _rebuild(self, numbers: Sequence[int], sampler: BaseSampler) -> optuna.Study:
        study = optuna.create_study(directions=[*self._goals.values()], sampler=sampler)
        place = {number: index for index, number in enumerate(numbers)}
        generation = 0  # a proposal that was not the sampler's own belongs to the generation of its time
        key = sampler._get_generation_key() if isinstance(sampler, (NSGAIISampler, NSGAIIISampler)) else None
        for number in numbers:
            state = self._told[number].state
            for name, parents in state.get("parents", {}).items():
                ids = [place[parent] for parent in parents]
                study._storage.set_study_system_attr(study._study_id, name, ids)
            if key is not None:
                generation = max(generation, state.get("trial", {}).get(key, 0))
            study.add_trial(self._trial(number, {} if key is None else {key: generation}))
        return study

    def _trial(self, number: int, attributes: Mapping[str, Any]) -> FrozenTrial:
        if number not in self._trials:
            told = self._told[number]
            self._trials[number] = create_trial(
                state=_STATES[told.outcome],
                values=self._values(told),
                params=self._parameters.values(told.genome),
                distributions=self._parameters.distributions,
                system_attrs={**attributes, **told.state.get("trial", {})},
                constraints=dict(told.excess),
            )
        return self._trials[number]

    def _values(self, told: Told) -> list[float] | None:
        """Scores as they are; costs as log10, on which a tenth saved counts the same for small and large networks."""
        if told.outcome == "infeasible":  # only its constraints count: any value that is not NaN will do
            return [0.0] * len(self._goals)
        if told.outcome != "measured":
            return None
        ways = self._goals.items()
        return [told.values[goal] if way == "maximize" else math.log10(told.values[goal]) for goal, way in ways]

    def _note(self, study: optuna.Study, trial: int, before: dict[str, Any], numbers: Sequence[int]) -> dict[str, Any]:
        """What the sampler wrote into its study during one ask, with proposal numbers for Optuna's own."""
        written = study._storage.get_study_system_attrs(study._study_id)
        parents = {
            name: [numbers[index] for index in ids] for name, ids in written.items() if name not in before and ids
        }
        attributes = {
            name: value
            for name, value in study.get_trials(deepcopy=False)[trial].system_attrs.items()
            if name.endswith(":generation")
        }
        return {name: value for name, value in (("trial", attributes), ("parents", parents)) if value}


# ---------------------------------------------------------------------------------------------------------------------
# genomes as Optuna's parameters


class Parameters:
    """Genes as Optuna's distributions: ordered ones as stepped integers, the others as categories.

    Evenly spaced whole numbers appear as themselves (a width of 16 to 64 in steps of 8), other ordered values by their
    index. Genes with one value are no parameters.
    """

    def __init__(self, genes: Sequence[Gene]) -> None:
        self._genes = genes
        self._choices = {gene.path: _choices(gene) for gene in genes}
        self.distributions: dict[str, BaseDistribution] = {
            gene.path: _distribution(gene, self._choices[gene.path]) for gene in genes if gene.size > 1
        }

    def values(self, genome: Genome) -> dict[str, Any]:
        """Optuna's parameters of a genome."""
        return {
            gene.path: self._choices[gene.path][index]
            for gene, index in zip(self._genes, genome, strict=True)
            if gene.size > 1
        }

    def genome(self, values: Mapping[str, Any]) -> Genome:
        """The genome of Optuna's parameters."""
        return tuple(self._choices[gene.path].index(values[gene.path]) if gene.size > 1 else 0 for gene in self._genes)


def _choices(gene: Gene) -> list[Any]:
    if gene.ordered:
        return list(gene.values) if _step(gene.values) else list(range(gene.size))
    plain = all(isinstance(value, str) for value in gene.values)
    return list(gene.values) if plain else [json.dumps(value) for value in gene.values]


def _distribution(gene: Gene, choices: list[Any]) -> BaseDistribution:
    if gene.ordered:
        return IntDistribution(choices[0], choices[-1], step=choices[1] - choices[0])
    return CategoricalDistribution(choices)


def _step(values: Sequence[Any]) -> int | None:
    """The step of evenly spaced whole numbers, else None."""
    if len(values) < 2 or not all(type(value) is int for value in values):
        return None
    steps = {after - before for before, after in zip(values, values[1:], strict=False)}
    return steps.pop() if len(steps) == 1 else None
