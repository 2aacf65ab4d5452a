"""Bring proposals inside a study's limits, before anything is trained.

    a genome outside -> its ordered numbers made smaller, notch by notch, to the smallest if need be
                     -> or, where even those are outside, gene after gene as in a network that is inside
    -> the first point on this way that is inside

The order on the way is drawn from a seed, and the point is found by halving the way: a handful of counts for each
proposal. So a space of which one network in a hundred is inside is searched almost as fast as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hrnas.space.architecture import Architecture
from hrnas.space.genome import Genome
from hrnas.space.search_space import SearchSpace

DRAWS = 400  # networks drawn, all outside the limits, before a search inside them gives up

CountCost = Callable[[Architecture], Mapping[str, float]]


@dataclass(frozen=True)
class Counted:
    """A network with its costs; `excess` is `cost / limit - 1` for each limit: above zero means broken."""

    genome: Genome
    architecture: Architecture
    costs: Mapping[str, float]
    excess: Mapping[str, float]

    @property
    def broken(self) -> tuple[str, ...]:
        """The limits that it breaks."""
        return tuple(name for name, value in self.excess.items() if value > 0)

    @property
    def worst(self) -> float:
        """By how much it misses the limit that it misses by most."""
        return max(self.excess.values(), default=0.0)


class Limits:
    """The limits of a study on the costs of its space's networks."""

    def __init__(self, space: SearchSpace, limits: Mapping[str, float], count_cost: CountCost) -> None:
        self._space, self._limits, self._count_cost = space, limits, count_cost

    def count(self, genome: Genome) -> Counted:
        """A network and by how much it breaks each limit."""
        genome = self._space.canonical(genome)
        architecture = self._space.decode(genome)
        costs = self._count_cost(architecture)
        return Counted(genome, architecture, costs, self.excess(costs))

    def excess(self, costs: Mapping[str, float]) -> dict[str, float]:
        """`cost / limit - 1` for each limit."""
        return {name: costs[name] / limit - 1 for name, limit in self._limits.items()}

    def repaired(self, outside: Counted, inside: Callable[[], Genome], rng: np.random.Generator) -> Counted:
        """A network inside the limits on a way from one outside, with the one before it outside: see above.

        Args:
            inside: gives a genome that is inside the limits, to go to where smaller numbers alone do not help.
        """
        way = _smaller(outside.genome, [gene.ordered for gene in self._space.genes], rng)
        if self.count(way[-1]).broken:
            way = _towards(outside.genome, inside(), rng)
        before, first = 0, len(way) - 1  # the way begins outside and ends inside
        found = self.count(way[first])
        while first - before > 1:
            middle = (before + first) // 2
            counted = self.count(way[middle])
            if counted.broken:
                before = middle
            else:
                first, found = middle, counted
        return found

    def first_inside(self, rng: np.random.Generator) -> tuple[Counted, int]:
        """A network inside the limits, found by making one smaller; else the nearest one outside.

        Choice after choice of the network that takes the first of each is changed while that brings it nearer to the
        limits; then networks are drawn.

        Returns:
            the network, and how many were counted.
        """
        genes = self._space.genes
        best, number = self.count((0,) * len(genes)), 1
        before: Counted | None = None
        while best.broken and best is not before:
            before = best
            for index, gene in enumerate(genes):
                others = [(*best.genome[:index], value, *best.genome[index + 1 :]) for value in range(gene.size)]
                best = min([best, *map(self.count, others)], key=lambda counted: counted.worst)
                number += len(others)
                if not best.broken:
                    break
        for _ in range(DRAWS if best.broken else 0):
            drawn = self.count(tuple(0 if gene.ordered else int(rng.integers(gene.size)) for gene in genes))
            best, number = min(best, drawn, key=lambda counted: counted.worst), number + 1
        return best, number


def _smaller(genome: Genome, ordered: Sequence[bool], rng: np.random.Generator) -> list[Genome]:
    """From a genome to the one with its ordered genes at 0, one notch at a time, in an order that is drawn."""
    notches = [index for index, value in enumerate(genome) if ordered[index] for _ in range(value)]
    way = [genome]
    for index in rng.permutation(notches).astype(int):
        last = way[-1]
        way.append((*last[:index], last[index] - 1, *last[index + 1 :]))
    return way


def _towards(genome: Genome, other: Genome, rng: np.random.Generator) -> list[Genome]:
    """From a genome to another, one gene at a time, in an order that is drawn."""
    way = [genome]
    for index in rng.permutation([index for index, value in enumerate(genome) if value != other[index]]).astype(int):
        last = way[-1]
        way.append((*last[:index], other[index], *last[index + 1 :]))
    return way
