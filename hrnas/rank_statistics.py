"""How far one ranking of architectures can be trusted to foretell another: tau, rho, regret, each with its interval.

Every statistic is a function of two scores and of how often each architecture counts, so that one architecture's
absence (a bootstrap draw) is nothing but other counts: a thousand draws are one matrix product. Two scores compared on
the same draws are compared in pairs: the luck of which architectures were drawn falls out of their difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Estimate",
    "Statistic",
    "difference",
    "draw_counts",
    "estimate",
    "kendall",
    "ratio",
    "spearman",
    "top_regret",
]

Floats = NDArray[np.float64]
Statistic = Callable[[Floats, Floats, Floats], Floats]  # (proxy, truth, counts of (draws, n)) -> (draws,)

DRAWS = 2000
LEVEL = 0.95


class Estimate(NamedTuple):
    """A statistic and its percentile interval over bootstrap draws; all are NaN where it is not defined."""

    value: float
    low: float
    high: float


# ---------------------------------------------------------------------------------------------------------------------
# statistics of two scores, for each row of counts


def kendall(proxy: Floats, truth: Floats, counts: Floats) -> Floats:
    """Kendall's tau-b: how many more pairs both rank alike than differently, ties left out. Kendall, Biometrika 1945.

    Args:
        proxy, truth: (n,), higher is better.
        counts: (draws, n), how often each architecture counts; ones for the plain statistic.

    Returns:
        (draws,); NaN where all that counts is tied in one of the two.
    """
    ours, theirs = _signs(proxy), _signs(truth)
    agreement = _over_pairs(ours * theirs, counts)
    return _divide(agreement, np.sqrt(_over_pairs(np.abs(ours), counts) * _over_pairs(np.abs(theirs), counts)))


def spearman(proxy: Floats, truth: Floats, counts: Floats) -> Floats:
    """Spearman's rho: the linear correlation of the two rankings, ties at their mean rank. Arguments as `kendall`."""
    total = counts.sum(axis=1, keepdims=True)
    ours, theirs = _mean_ranks(proxy, counts), _mean_ranks(truth, counts)
    ours -= (counts * ours).sum(axis=1, keepdims=True) / total
    theirs -= (counts * theirs).sum(axis=1, keepdims=True) / total
    spread = (counts * ours**2).sum(axis=1) * (counts * theirs**2).sum(axis=1)
    return _divide((counts * ours * theirs).sum(axis=1), np.sqrt(spread))


def top_regret(k: int) -> Statistic:
    """What is lost by training only the proxy's k best: the best true score less the best true score among those k.

    An architecture that counts twice fills one place. What the proxy cannot tell apart is taken worst first: it gets no
    credit for luck.
    """

    def regret(proxy: Floats, truth: Floats, counts: Floats) -> Floats:
        order = np.lexsort((truth, -proxy))
        there = counts[:, order] > 0
        chosen = there & (np.cumsum(there, axis=1) <= k)
        best, found = (np.where(of, truth[order], -np.inf).max(axis=1) for of in (there, chosen))
        return best - found

    return regret


def _signs(values: Floats) -> Floats:
    return np.sign(values[:, None] - values[None, :])


def _over_pairs(matrix: Floats, counts: Floats) -> Floats:
    """The sum over all ordered pairs, each as often as both of it count: (draws,)."""
    return ((counts @ matrix) * counts).sum(axis=1)


def _mean_ranks(values: Floats, counts: Floats) -> Floats:
    """Each architecture's rank among those that count: (draws, n)."""
    before = values[None, :] < values[:, None]
    same = values[None, :] == values[:, None]
    return counts @ (before + 0.5 * same).T


def _divide(above: Floats, below: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 1e-12, above / below, np.nan)


# ---------------------------------------------------------------------------------------------------------------------
# intervals


def draw_counts(n: int, draws: int = DRAWS, seed: int = 0) -> Floats:
    """How often each of n architectures is drawn when n are drawn with replacement: (draws, n). Efron, 1979."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)


def estimate(statistic: Statistic, proxy: ArrayLike, truth: ArrayLike, counts: Floats | None = None) -> Estimate:
    """A statistic of two scores of the same architectures, with its interval.

    Args:
        counts: the draws; by default those of `draw_counts`.

    Raises:
        ValueError: the scores are not of one length, or some are not finite.
    """
    ours, theirs = _pair(proxy, truth)
    drawn = draw_counts(len(ours)) if counts is None else counts
    return _estimate(*(statistic(ours, theirs, c) for c in (_all_once(len(ours)), drawn)))


def difference(
    statistic: Statistic, proxy: ArrayLike, other: ArrayLike, truth: ArrayLike, counts: Floats | None = None
) -> Estimate:
    """How much more one proxy reaches than another on the same architectures, draw by draw.

    An interval above 0 says that the first is better, whichever architectures of this kind had been measured.
    """
    return _compared(np.subtract, statistic, (proxy, truth), (other, truth), counts)


def ratio(
    statistic: Statistic,
    pair: tuple[ArrayLike, ArrayLike],
    ceiling: tuple[ArrayLike, ArrayLike],
    counts: Floats | None = None,
) -> Estimate:
    """What share of the agreement between the ceiling's two scores a pair of scores of the same architectures reaches.

    Above 1 is possible: two seeds of a training both have luck, a proxy may have less.
    """
    return _compared(_divide_where_positive, statistic, pair, ceiling, counts)


def _compared(
    how: Callable[[Floats, Floats], Floats],
    statistic: Statistic,
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    counts: Floats | None,
) -> Estimate:
    ours, theirs = _pair(*first), _pair(*second)
    if len(ours[0]) != len(theirs[0]):
        raise ValueError(f"paired scores are of the same architectures; got {len(ours[0])} and {len(theirs[0])}")
    n = len(ours[0])
    drawn = draw_counts(n) if counts is None else counts
    return _estimate(*(how(statistic(*ours, c), statistic(*theirs, c)) for c in (_all_once(n), drawn)))


def _divide_where_positive(above: Floats, below: Floats) -> Floats:
    """A share of an agreement; there is none where the ceiling's two scores do not agree at all."""
    return _divide(above, np.maximum(below, 0.0))


def _pair(proxy: ArrayLike, truth: ArrayLike) -> tuple[Floats, Floats]:
    ours, theirs = np.asarray(proxy, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if ours.ndim != 1 or ours.shape != theirs.shape or len(ours) == 0:
        raise ValueError(f"expected two scores of the same architectures, got shapes {ours.shape} and {theirs.shape}")
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise ValueError("a score is not a finite number; leave its architecture out")
    return ours, theirs


def _all_once(n: int) -> Floats:
    return np.ones((1, n))


def _estimate(plain: Floats, drawn: Floats) -> Estimate:
    known = drawn[np.isfinite(drawn)]  # draws of one architecture only, or of tied ones, rank nothing
    if len(known) == 0 or not np.isfinite(plain[0]):
        return Estimate(float(plain[0]), float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(plain[0]), float(low), float(high))
