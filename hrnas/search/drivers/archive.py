"""What a driver was told, as arrays: drivers of our own look at all of it in every ask, at 10,000 trials too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from hrnas.pareto import non_dominated
from hrnas.search.drivers.driver import Told
from hrnas.space.genome import Genome

__all__ = ["Archive", "crowding", "first_unseen"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TRIES = 200  # to find a genome that was not proposed yet


class Archive:
    """Everything told, by number: what is told again replaces what was there.

    Attributes:
        seen: all genomes that were ever told.
        genomes: the genome of each number.
        pending: the numbers of which nobody knows yet what became.
    """

    def __init__(self, goals: Mapping[str, str]) -> None:
        self._goals = dict(goals)
        self.seen: set[Genome] = set()
        self.genomes: dict[int, Genome] = {}
        self.pending: set[int] = set()
        self._parent: dict[int, int] = {}
        self._values = np.full((64, len(goals)), np.nan)
        self._excess = np.full(64, np.nan)

    def tell(self, told: Told) -> None:
        while told.number >= len(self._excess):
            self._values = np.vstack([self._values, np.full_like(self._values, np.nan)])
            self._excess = np.hstack([self._excess, np.full_like(self._excess, np.nan)])
        self.seen.add(told.genome)
        self.genomes[told.number] = told.genome
        self.pending.discard(told.number)
        if told.outcome == "pending":
            self.pending.add(told.number)
        if "parent" in told.state:
            self._parent[told.number] = told.state["parent"]
        row, excess = np.full(len(self._goals), np.nan), np.nan
        if told.outcome == "measured":
            row = np.array([self._axis(goal, told.values[goal]) for goal in self._goals])
        elif told.outcome == "infeasible":
            excess = sum(max(over, 0.0) for over in told.excess.values())
        self._values[told.number], self._excess[told.number] = row, excess

    def _axis(self, goal: str, value: float) -> float:
        return -value if self._goals[goal] == "maximize" else math.log10(value)

    def measured(self) -> tuple[Ints, Floats]:
        """The numbers of all that were measured, in order, and their values: (measured, goals), to be minimised.

        Scores have their sign turned, costs are log10, as in `hrnas.pareto.oriented`.
        """
        numbers = np.flatnonzero(~np.isnan(self._values).any(axis=1))
        return numbers, self._values[numbers]

    def outside(self, most: int) -> Ints:
        """The numbers of those outside the limits that miss them by least, the nearest first."""
        numbers = np.flatnonzero(~np.isnan(self._excess))
        return numbers[np.argsort(self._excess[numbers], kind="stable")[:most]]

    def front(self) -> tuple[Ints, Floats]:
        """The measured ones that none beats, and their values; the nearest to the limits where none is inside."""
        numbers, values = self.measured()
        if len(numbers) == 0:
            return self.outside(1), np.zeros((len(self.outside(1)), len(self._goals)))
        best = non_dominated(values)
        return numbers[best], values[best]

    def children(self) -> Ints:
        """How often each number was a parent, `parent` in the state of those told: (numbers,)."""
        return np.bincount([*self._parent.values()], minlength=len(self._excess)).astype(np.int64)


def crowding(values: Floats) -> Floats:
    """The crowding distance of points of one rank: (points, goals) -> (points,); infinite at the ends.

    Deb et al., NSGA-II (2002), section III-B.
    """
    distance = np.zeros(len(values))
    for axis in values.T:
        order = np.argsort(axis, kind="stable")
        span = axis[order[-1]] - axis[order[0]]
        distance[order[[0, -1]]] = np.inf
        if span > 0:
            distance[order[1:-1]] += (axis[order[2:]] - axis[order[:-2]]) / span
    return distance


def first_unseen(propose: Callable[[], Genome], seen: set[Genome]) -> Genome | None:
    """The first proposal that was not made before; none, where only known ones come."""
    return next((genome for genome in (propose() for _ in range(TRIES)) if genome not in seen), None)
