"""Compare methods on a recorded problem: hypervolume after each evaluation, and how far the end is from the best known.

Hypervolumes are in score times decades of cost (docs/decisions/004-hypervolume-in-decades.md), under the problem's
reference, as a share of that of the best known front.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from hrnas.bench.methods import Method
from hrnas.bench.problems import Problem
from hrnas.bench.records import Run
from hrnas.pareto import history, hypervolume

__all__ = ["compare", "distance_to_front"]

Floats = NDArray[np.float64]


def compare(
    problem: Problem,
    methods: Mapping[str, Method],
    runs: Sequence[tuple[str, int]],
    evaluations: int,
) -> Iterator[Run]:
    """Make runs, each a method's name and a seed, one after the other."""
    front, corner = problem.best_known, problem.corner
    whole = hypervolume(front, corner)
    for name, seed in runs:
        began = time.process_time()
        values = problem.oriented([*islice(methods[name](problem, seed), evaluations)])
        seconds = time.process_time() - began
        volumes = np.array(history(values, corner)) / whole
        yield Run(name, seed, distance_to_front(values, front), seconds, volumes)


def distance_to_front(values: Floats, front: Floats) -> float:
    """IGD+: how much a point of the front is missed by, on average, in units of the front's own extent.

    Ishibuchi et al., Modified Distance Calculation in Generational Distance and Inverted Generational Distance (EMO
    2015), equation 12: only what a point is worse in counts.

    Args:
        values, front: (points, goals), minimised.
    """
    extent = np.maximum(front.max(0) - front.min(0), 1e-12)
    worse = np.maximum((values[None] - front[:, None]) / extent, 0.0)  # (front, points, goals)
    return float(np.sqrt((worse**2).sum(2)).min(1).mean())
