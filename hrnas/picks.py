"""Pick a few members of a front: its knees, an even cover of it, or the best within budgets.

Arrays are (points, goals) and every goal is to be *minimised*, as `hrnas.pareto.oriented` gives them: scores with their
sign turned, costs as log10. Each goal counts by its share of the range that the front spans in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["best_within", "even_budgets", "knee_distances", "knees", "spread"]

Floats = NDArray[np.float64]


def knee_distances(front: ArrayLike) -> Floats:
    """How far each member bulges beyond the plane through the front's ends, towards the ideal point; ends have 0.

    In two goals the plane is the chord. A member with a distance below 0 lies behind it: a mixture of the ends would be
    better. Das, On characterizing the "knee" of the Pareto curve (1999), with the plane through the corners of the
    range.

    Returns:
        (points,), in units of the normalised range.
    """
    shares = _shares(front)
    goals = shares.shape[1]
    return (1 - shares.sum(axis=1)) / math.sqrt(goals)


def knees(front: ArrayLike, count: int) -> list[int]:
    """The members that bulge most, the farthest first; of equals the first."""
    return [int(index) for index in np.argsort(-knee_distances(front), kind="stable")[:count]]


def spread(front: ArrayLike, count: int) -> list[int]:
    """An even cover: the best in the first goal, then always the member farthest from all those picked.

    The smallest distance between two picks is at least half of what any choice of so many reaches: Gonzalez,
    Clustering to minimize the maximum intercluster distance (1985); Ravi et al., Heuristic and special case algorithms
    for dispersion problems (1994).
    """
    shares = _shares(front)
    if not len(shares):
        return []
    picked = [int(np.argmin(shares[:, 0]))]
    while len(picked) < min(count, len(shares)):
        away = np.linalg.norm(shares[:, None] - shares[picked], axis=2).min(axis=1)
        away[picked] = -1.0  # members may be equal
        picked.append(int(np.argmax(away)))
    return picked


def even_budgets(costs: Sequence[float], count: int) -> list[float]:
    """The upper ends of so many equal parts of the costs' range on a log axis; the last is the largest cost."""
    low, high = math.log10(min(costs)), math.log10(max(costs))
    return [*(10 ** (low + (high - low) * part / count) for part in range(1, count)), float(max(costs))]


def best_within(scores: Sequence[float], costs: Sequence[float], budget: float) -> int | None:
    """The best score at a cost within a budget; of equals the cheapest, then the first. `None` where all cost more."""
    inside = [index for index, cost in enumerate(costs) if cost <= budget]
    return min(inside, key=lambda index: (-scores[index], costs[index], index), default=None)


def _shares(front: ArrayLike) -> Floats:
    """Each goal from 0 (the best on the front) to 1 (the worst); 0 in a goal in which all are equal."""
    values = np.asarray(front, dtype=np.float64)
    low, high = values.min(axis=0, initial=np.inf), values.max(axis=0, initial=-np.inf)
    range_ = np.where(high > low, high - low, 1.0)
    return (values - low) / range_ if len(values) else values
