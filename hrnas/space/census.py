"""How many different networks a space holds: genomes that rules and rounding make the same count once."""

from __future__ import annotations

import math

import numpy as np

from hrnas.space.genome import Genome
from hrnas.space.search_space import SearchSpace


def estimate_architectures(space: SearchSpace, draws: int = 30, seed: int = 0) -> int:
    """About how many distinct architectures a space holds.

    Canonical genomes are drawn evenly. One whose network m genomes share stands for 1 / m of an architecture, so that
    the mean of these shares times the number of genomes estimates the number of architectures. Where every drawn
    genome has its network for itself the result is the number of genomes.
    """
    rng = np.random.default_rng(seed)
    shares = [1 / _sharers(space, space.sample_evenly(rng)) for _ in range(draws)]
    return space.size if min(shares) == 1 else round(space.size * float(np.mean(shares)))


def _sharers(space: SearchSpace, genome: Genome) -> int:
    """How many canonical genomes decode to this one's network, when each gene's part in that is its own."""
    key = space.decode(genome).key
    same = [1] * len(genome)
    for index, gene in enumerate(space.genes):
        for value in range(gene.size):
            other = (*genome[:index], value, *genome[index + 1 :])
            if value != genome[index] and space.canonical(other) == other and space.decode(other).key == key:
                same[index] += 1
    return math.prod(same)
