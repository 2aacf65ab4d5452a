"""Regularised evolution for several goals: the young live, the best of a few have children.

    the latest `population` -> tournament, twice -> cross (each gene from one of two parents) -> mutate -> proposal

Real et al., Regularized Evolution for Image Classifier Architecture Search, AAAI 2019, arXiv 1802.01548, algorithm 1:
who dies is the oldest and not the worst, so that a lucky measurement is forgotten in time.

# Unlike the paper: several goals, so that a tournament is won by rank and then by crowding (Deb et al., NSGA-II, 2002,
section III-C); and parents are crossed, which the paper leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hrnas.pareto import ranks
from hrnas.search.drivers.archive import Archive, Ints, crowding, first_unseen
from hrnas.search.drivers.driver import Ask, Space, Told
from hrnas.space.genome import Genome


class EvolutionDriver:
    """Ask for a child of two that won their tournaments.

    Args:
        population: how many of the latest measured ones can be parents; as many random ones begin.
        sample: how many of them take part in a tournament.
        crossover: the probability that a child has two parents.
    """

    def __init__(self, space: Space, goals: Mapping[str, str], population: int, sample: int, crossover: float) -> None:
        self._space = space
        self._population, self._sample, self._crossover = population, sample, crossover
        self._archive = Archive(goals)

    def tell(self, told: Told) -> None:
        self._archive.tell(told)

    def ask(self, seed: int) -> Ask:
        rng = np.random.default_rng(seed)
        seen = self._archive.seen
        alive = self._alive()
        child = None
        if len(alive) == self._population:
            child = first_unseen(lambda: self._child(alive, rng), seen)
        return Ask(child or first_unseen(lambda: self._space.sample(rng), seen) or self._space.sample(rng))

    def _alive(self) -> list[Genome]:
        """The latest measured ones, the best first; those nearest to the limits behind them, where too few were."""
        numbers, values = self._archive.measured()
        numbers, values = numbers[-self._population :], values[-self._population :]
        rank = ranks(values)
        apart = np.zeros(len(rank))
        for level in np.unique(rank):
            apart[rank == level] = crowding(values[rank == level])
        order: Ints = np.lexsort((-apart, rank))
        missing = self._population - len(numbers)
        alive = [*numbers[order], *self._archive.outside(missing)]
        return [self._archive.genomes[number] for number in alive]

    def _child(self, alive: list[Genome], rng: np.random.Generator) -> Genome:
        genome = self._winner(alive, rng)
        if rng.random() < self._crossover:
            genome = cross(genome, self._winner(alive, rng), rng)
        return self._space.mutate(genome, rng)

    def _winner(self, alive: list[Genome], rng: np.random.Generator) -> Genome:
        return alive[int(rng.integers(len(alive), size=self._sample).min())]


def cross(one: Genome, other: Genome, rng: np.random.Generator) -> Genome:
    """Each gene from one of two parents, with equal chances."""
    return tuple(a if first else b for a, b, first in zip(one, other, rng.random(len(one)) < 0.5, strict=True))
