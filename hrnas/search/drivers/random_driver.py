"""Uniform sampling without repetition: the baseline that every search must beat."""

from __future__ import annotations

import numpy as np

from hrnas.search.drivers.driver import Ask, Space, Told
from hrnas.space.genome import Genome

_TRIES = 1000  # to find a genome that was not proposed yet, before a repetition is accepted


class RandomDriver:
    """Draw a genome that was not proposed yet."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._seen: set[Genome] = set()

    def tell(self, told: Told) -> None:
        self._seen.add(told.genome)

    def ask(self, seed: int) -> Ask:
        rng = np.random.default_rng(seed)
        for _ in range(_TRIES):
            genome = self._space.sample(rng)
            if genome not in self._seen:
                break
        return Ask(genome)
