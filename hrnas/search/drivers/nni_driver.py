"""Propose with NNI's tuners: TPE, Evolution, Regularized Evolution, Random, Grid; in this process, without its server.

NNI's tuners keep their history and their dice in themselves. Here a tuner is made anew for every ask, from what the
driver was told and the ask's seed, so that an ask after a crash is the ask that would have come without one. What a
tuner forgets or counts on its own (who left the population, where the grid stands) is noted in the ask's state and put
back.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count, islice
from typing import Any, Literal

import nni
import numpy as np
from nni.algorithms.hpo.evolution_tuner import EvolutionTuner, Individual
from nni.algorithms.hpo.gridsearch_tuner import GridSearchTuner
from nni.algorithms.hpo.random_tuner import RandomTuner
from nni.algorithms.hpo.regularized_evolution_tuner import FinishedIndividual, RegularizedEvolutionTuner
from nni.algorithms.hpo.tpe_tuner import Record, TpeTuner

from hrnas.search.drivers.driver import Ask, Space, Told
from hrnas.space.genome import Gene, Genome

nni.silence_stdout()  # by itself NNI writes its log to standard output

_DRAWS = {"grid": 1000}  # of a tuner, before what it proposes again is changed a little; a grid only goes on
_STEPS = 50  # of such changes, before a repetition is accepted
_EDGE = 0.499  # a stepped number is a rounded one to NNI: without it the first and the last would come half as often

Drawn = tuple[dict[str, Any], dict[str, Any]]  # parameters: the gene's path -> the value's index; and the ask's state


class NniDriver:
    """Ask one of NNI's tuners, which see one number for all goals: see `reward`.

    What broke a limit counts as worse than everything measured, by the sum of log(cost / limit); failures are
    forgotten.
    """

    def __init__(
        self,
        space: Space,
        goals: Mapping[str, Literal["maximize", "minimize"]],
        tuner: str,
        weights: Mapping[str, float],
        targets: Mapping[str, float],
        population: int = 20,
        sample: int = 5,
        startup: int = 10,
    ) -> None:
        self._space, self._genes = space, [gene for gene in space.genes if gene.size > 1]
        self._goals, self._weights, self._targets = dict(goals), dict(weights), dict(targets)
        self._population, self._sample, self._startup = population, sample, startup
        self._tuner, self._draws = tuner, _DRAWS.get(tuner, 10)
        self._draw: Callable[[int], Iterator[Drawn]] = {
            "tpe": self._draw_tpe,
            "evolution": self._draw_evolution,
            "regularized_evolution": self._draw_regularized_evolution,
            "random": self._draw_random,
            "grid": self._draw_grid,
        }[tuner]
        self._told: dict[int, Told] = {}

    def tell(self, told: Told) -> None:
        self._told[told.number] = told

    def ask(self, seed: int) -> Ask:
        seen = {told.genome for told in self._told.values()}
        ask = None
        try:
            for parameters, state in islice(self._draw(seed), self._draws):
                ask = Ask(self._space.canonical(self._genome(parameters)), state)
                if ask.genome not in seen:
                    return ask
        except nni.NoMoreTrialError:  # the grid is at its end
            pass
        if ask is None:
            return Ask(next(iter(seen)))
        return ask if self._tuner == "grid" else self._near(ask, seen, seed)

    def _near(self, ask: Ask, seen: Collection[Genome], seed: int) -> Ask:
        """What a tuner proposes again and again, changed step by step until it is new."""
        rng, genome = np.random.default_rng(seed), ask.genome
        for _ in range(_STEPS):
            genome = self._space.mutate(genome, rng)
            if genome not in seen:
                return Ask(genome, ask.state)
        return ask

    # -- what a tuner is told -----------------------------------------------------------------------------------------

    def _rewards(self) -> dict[int, float]:
        """The one number of every proposal that has one, in the order of the proposals."""
        told = [self._told[number] for number in sorted(self._told)]
        measured = {
            one.number: reward(one.values, self._goals, self._weights, self._targets)
            for one in told
            if one.outcome == "measured"
        }
        worst = min(measured.values(), default=0.0)
        rewards = {}
        for one in told:
            if one.outcome == "infeasible":
                rewards[one.number] = worst - sum(math.log1p(excess) for excess in one.excess.values() if excess > 0)
            elif one.outcome == "measured":
                rewards[one.number] = measured[one.number]
        return rewards

    def _pending(self) -> list[int]:
        return [number for number in sorted(self._told) if self._told[number].outcome == "pending"]

    def _parameters(self, number: int) -> dict[str, int]:
        return {
            gene.path: index
            for gene, index in zip(self._space.genes, self._told[number].genome, strict=True)
            if gene.size > 1
        }

    def _genome(self, parameters: Mapping[str, Any]) -> Genome:
        return tuple(int(parameters[gene.path]) if gene.size > 1 else 0 for gene in self._space.genes)

    # -- the tuners ---------------------------------------------------------------------------------------------------

    def _draw_random(self, seed: int) -> Iterator[Drawn]:
        tuner = RandomTuner(seed)
        tuner.update_search_space(_choices(self._genes, "choice"))
        tuner.dedup = _as_drawn
        while True:
            yield tuner.generate_parameters(), {}

    def _draw_tpe(self, seed: int) -> Iterator[Drawn]:
        tuner = TpeTuner("maximize", seed, {"n_startup_jobs": self._startup})
        tuner.update_search_space(_stepped(self._genes))
        tuner.dedup = _as_drawn
        for number, value in self._rewards().items():
            for path, index in self._parameters(number).items():
                tuner._history[(path,)].append(Record(index, -value))
            tuner.liar.update(-value)
        for number in self._pending():  # TPE takes what others still measure for as good as the best
            tuner._running_params[number] = {(path,): index for path, index in self._parameters(number).items()}
        for attempt in count(len(self._told)):
            yield tuner.generate_parameters(attempt), {}
            tuner.trial_end(attempt, False)  # what was drawn in vain does not run

    def _draw_evolution(self, seed: int) -> Iterator[Drawn]:
        """Of two members drawn by chance the better has a child, and the worse leaves."""
        gone = {number for told in self._told.values() for number in told.state.get("gone", ())}
        members = [
            Individual(_noted(self._parameters(number), "_index"), number, value)
            for number, value in self._rewards().items()
            if number not in gone
        ]
        some_are_missing = len(members) + len(self._pending()) < self._population
        tuner = EvolutionTuner("maximize", population_size=1)
        tuner.update_search_space(_choices(self._genes, "choice"))
        for attempt in count(seed):
            tuner.population = [*members]
            tuner.random_state = np.random.RandomState(attempt % 2**32)
            if some_are_missing or not members:
                tuner._random_generate_individual()  # a member without a result comes first
            with _dice(attempt):
                parameters = tuner.generate_parameters(attempt)
            left = {member.info for member in tuner.population}
            leaving = [member.info for member in members if member.info not in left]
            yield parameters, {"gone": leaving} if leaving else {}

    def _draw_regularized_evolution(self, seed: int) -> Iterator[Drawn]:
        """The best of a sample of the youngest has a child. Real et al., 2019, arXiv 1802.01548, algorithm 1."""
        rewards = self._rewards()
        some_are_missing = len(rewards) + len(self._pending()) < self._population
        tuner = RegularizedEvolutionTuner("maximize", self._population, self._sample)
        for number in [*rewards][-self._population :]:
            parameters = _noted(self._parameters(number), "_idx")
            tuner.population.append(FinishedIndividual(number, parameters, rewards[number]))
        tuner.population_size = 1  # of the random models that it draws when it hears of the space
        for attempt in count(seed):
            with _dice(attempt):
                tuner.search_space = None
                tuner.initial_population.clear()
                tuner.update_search_space(_choices(self._genes, "layer_choice"))
                if rewards and not some_are_missing:
                    tuner.initial_population.clear()
                drawn = tuner.generate_parameters(attempt)
            yield {path: choice["_value"] for path, choice in drawn.items()}, {}

    def _draw_grid(self, seed: int) -> Iterator[Drawn]:
        """Combination after combination, the last gene's values first."""
        vectors = (self._told[number].state.get("vector") for number in sorted(self._told, reverse=True))
        tuner = GridSearchTuner()
        tuner.update_search_space(_choices(self._genes, "choice"))
        tuner.vector = next((list(vector) for vector in vectors if vector), None)
        while True:
            yield tuner.generate_parameters(), {"vector": [*tuner.vector]}


def reward(
    values: Mapping[str, float],
    goals: Mapping[str, Literal["maximize", "minimize"]],
    weights: Mapping[str, float],
    targets: Mapping[str, float],
) -> float:
    """One number for all goals, the higher the better: sum of weight x score - sum of weight x log(cost / target).

    A cost below its target counts as the target: smaller is not better then. A cost without a target counts as
    log(cost). After the reward of Tan et al., MnasNet (CVPR 2019), arXiv 1807.11626, equation 2, as a sum.
    """
    total = 0.0
    for goal, way in goals.items():
        if way == "maximize":
            total += weights[goal] * values[goal]
        else:
            over = math.log(values[goal] / targets.get(goal, 1.0))
            total -= weights[goal] * (max(0.0, over) if goal in targets else over)
    return total


# ---------------------------------------------------------------------------------------------------------------------
# helpers


def _choices(genes: Sequence[Gene], kind: str) -> dict[str, Any]:
    return {gene.path: {"_type": kind, "_value": [*range(gene.size)]} for gene in genes}


def _stepped(genes: Sequence[Gene]) -> dict[str, Any]:
    """Ordered genes as rounded numbers, the others as choices."""
    return {
        gene.path: {"_type": "quniform", "_value": [-_EDGE, gene.size - 1 + _EDGE, 1]}
        if gene.ordered
        else {"_type": "choice", "_value": [*range(gene.size)]}
        for gene in genes
    }


def _noted(parameters: Mapping[str, int], index: str) -> dict[str, dict[str, int]]:
    """Parameters as the evolutions keep them: the value, and its index under a name that differs."""
    return {path: {index: place, "_value": place} for path, place in parameters.items()}


def _as_drawn(parameters: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """In place of NNI's own care for repetitions, which takes the first free point of a grid instead."""
    return parameters


@contextmanager
def _dice(seed: int) -> Iterator[None]:
    """Python's global dice as some tuners throw them, and as they were afterwards."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
