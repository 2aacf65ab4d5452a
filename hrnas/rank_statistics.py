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
        proxy: (n,), or (seeds, n): then the statistic's mean over the seeds, each drawn alike.
        truth: (n,).
        counts: the draws; by default those of `draw_counts`.

    Raises:
        ValueError: the scores are not of the same architectures, or some are not finite.
    """
    return _estimate(lambda c: _mean(statistic, proxy, truth, c), _length(proxy, truth), counts)


def difference(
    statistic: Statistic, proxy: ArrayLike, other: ArrayLike, truth: ArrayLike, counts: Floats | None = None
) -> Estimate:
    """How much more one proxy reaches than another on the same architectures, draw by draw. Arguments as `estimate`.

    An interval above 0 says that the first is better, whichever architectures of this kind had been measured.
    """

    def gap(c: Floats) -> Floats:
        return _mean(statistic, proxy, truth, c) - _mean(statistic, other, truth, c)

    return _estimate(gap, _length(proxy, other, truth), counts)


def ratio(
    statistic: Statistic, proxy: ArrayLike, ceiling: ArrayLike, truth: ArrayLike, counts: Floats | None = None
) -> Estimate:
    """What share of the ceiling's agreement with the truth a proxy reaches, draw by draw. Arguments as `estimate`.

    The ceiling is the truth measured again, with other seeds. Above 1 is possible: a proxy may hold less luck than
    a training. NaN where the ceiling does not agree with the truth at all.
    """

    def share(c: Floats) -> Floats:
        return _divide(_mean(statistic, proxy, truth, c), np.maximum(_mean(statistic, ceiling, truth, c), 0.0))

    return _estimate(share, _length(proxy, ceiling, truth), counts)


def _mean(statistic: Statistic, proxies: ArrayLike, truth: ArrayLike, counts: Floats) -> Floats:
    theirs = np.asarray(truth, dtype=np.float64)
    ours = np.atleast_2d(np.asarray(proxies, dtype=np.float64))
    return np.asarray(np.mean([statistic(one, theirs, counts) for one in ours], axis=0))


def _length(*scores: ArrayLike) -> int:
    """How many architectures all of these are scores of."""
    arrays = [np.asarray(one, dtype=np.float64) for one in scores]
    lengths = {array.shape[-1] if array.ndim else 0 for array in arrays}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"expected scores of the same architectures, got shapes {[array.shape for array in arrays]}")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("a score is not a finite number; leave its architecture out")
    return lengths.pop()


def _estimate(statistic: Callable[[Floats], Floats], n: int, counts: Floats | None) -> Estimate:
    value = float(statistic(np.ones((1, n)))[0])
    drawn = statistic(draw_counts(n) if counts is None else counts)
    known = drawn[np.isfinite(drawn)]  # draws of one architecture only, or of tied ones, rank nothing
    if len(known) == 0 or not np.isfinite(value):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))
