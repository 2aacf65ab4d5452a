"""Pareto local search: look at the neighbours of what is on the front.

    the front -> the member with the fewest children, of equal ones the loneliest -> a neighbour that nobody proposed

Paquete, Chiarandini & Stuetzle, Pareto Local Optimum Sets in the Biobjective Traveling Salesman Problem (2004); for
architectures White et al., Exploring the Loss Landscape in Neural Architecture Search, UAI 2021, arXiv 2005.02960.

# Unlike the papers: one neighbour at a time instead of a whole neighbourhood, so that a member that is beaten is left
at once. A member all of whose neighbours are known is passed over; where that is so for the whole front (a local
optimum), its mutations are tried, two steps away and more.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial

import numpy as np

from hrnas.search.drivers.archive import Archive, crowding, first_unseen
from hrnas.search.drivers.driver import Ask, Space, Told
from hrnas.space.genome import Genome


class LocalDriver:
    """Ask for a neighbour of the front.

    Args:
        startup: random proposals at the beginning.
    """

    def __init__(self, space: Space, goals: Mapping[str, str], startup: int) -> None:
        self._space = space
        self._startup = startup
        self._archive = Archive(goals)
        self._neighbours = lru_cache(maxsize=1024)(space.neighbours)

    def tell(self, told: Told) -> None:
        self._archive.tell(told)

    def ask(self, seed: int) -> Ask:
        rng = np.random.default_rng(seed)
        seen, genomes = self._archive.seen, self._archive.genomes
        if len(seen) < self._startup:
            return Ask(self._draw(rng))
        numbers, values = self._archive.front()
        used = self._archive.children()[numbers]
        for number in numbers[np.lexsort((rng.random(len(numbers)), -crowding(values), used))] if len(numbers) else ():
            near = [genome for genome in self._neighbours(genomes[number]) if genome not in seen]
            if near:
                return Ask(near[int(rng.integers(len(near)))], {"parent": int(number)})
        for number in rng.permutation(numbers):
            farther = first_unseen(partial(self._two_steps, genomes[number], rng), seen)
            if farther:
                return Ask(farther, {"parent": int(number)})
        return Ask(self._draw(rng))

    def _two_steps(self, genome: Genome, rng: np.random.Generator) -> Genome:
        return self._space.mutate(self._space.mutate(genome, rng), rng)

    def _draw(self, rng: np.random.Generator) -> Genome:
        return first_unseen(lambda: self._space.sample(rng), self._archive.seen) or self._space.sample(rng)
