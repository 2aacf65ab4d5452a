"""Predict the score of networks that were not trained from those that were.

A small ensemble of Gaussian processes. All read the same three things of a network: its genome, what it costs, and its
zero-cost scores where the study has them; they differ in how far a difference of genes reaches, in how much costs weigh
against genes, and in how noisy they take scores to be. Each counts as much as the data speak for it (its evidence), so
that there is nothing to tune and nothing drawn: the same networks give the same predictions.

Rasmussen & Williams, Gaussian Processes for Machine Learning (2006): equations 2.25, 2.26 (prediction), 2.30 (evidence)
and 5.12 (what each point looks like to the others). On 200 networks of NAS-Bench-MR it ranks the rest with a Kendall's
tau of .70; 100 extremely randomised trees reach .64 there, parameters alone .45 (docs/search.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrnas.rank_statistics import kendall
from hrnas.space.genome import Gene, Genome

__all__ = ["FEWEST", "MOST", "Predictor", "encode_genomes"]

Floats = NDArray[np.float64]

REACHES = (0.5, 1.0, 2.0, 4.0)  # length scales, in units of one step across every gene
WEIGHTS = (0.3, 3.0)  # of costs against genes, in squared distance
NOISES = (0.03, 0.3)  # variance of the noise, as a share of the variance that is to be explained
FEWEST = 5  # networks to learn from
MOST = 300  # the last so many teach: time grows with their cube, and a search ends where it matters


@dataclass(frozen=True)
class _Member:
    """One Gaussian process.

    Attributes:
        evidence: log of the marginal likelihood, less a constant that all members share.
        scale: the variance of what it explains, in units of the scores' own.
        factor: (networks, networks), the lower Cholesky factor of the covariance.
        weights: (networks,), the covariance's inverse times the scores.
        left_out: (networks,), what each score looks like to the other networks.
    """

    reach: float
    weight: float
    noise: float
    evidence: float
    scale: float
    factor: Floats
    weights: Floats
    left_out: Floats


class Predictor:
    """Scores of networks, and how sure they are.

    Args:
        genes: (networks, columns), as `encode_genomes` makes them.
        measures: (networks, columns): logarithms of costs, zero-cost scores; what does not vary is not looked at.
        scores: (networks,), what to predict.

    Raises:
        ValueError: fewer than `FEWEST` networks, or numbers that are not finite.
    """

    def __init__(self, genes: ArrayLike, measures: ArrayLike, scores: ArrayLike) -> None:
        genes, measures = (np.asarray(given, np.float64)[-MOST:] for given in (genes, measures))
        scores = np.asarray(scores, np.float64)[-MOST:]
        if len(scores) < FEWEST:
            raise ValueError(f"a predictor learns from at least {FEWEST} networks, got {len(scores)}")
        if not all(np.isfinite(array).all() for array in (genes, measures, scores)):
            raise ValueError("a predictor learns from finite numbers only")
        self._genes = genes
        self._middle, self._spread = measures.mean(0), measures.std(0)
        self._varies = self._spread > 1e-9 * (1 + abs(self._middle))
        self._measures = self._scaled(measures)
        self._mean, self._deviation = float(scores.mean()), float(scores.std()) or 1.0
        standard = (scores - self._mean) / self._deviation
        apart = self._apart(self._genes, self._measures)
        members = [_fit(apart, standard, *options) for options in product(REACHES, WEIGHTS, NOISES)]
        evidence = np.array([member.evidence for member in members])
        share = np.exp(evidence - evidence.max())
        share /= share.sum()
        self._members = [(s, m) for s, m in zip(share, members, strict=True) if s > 1e-3]
        left_out = sum(s * m.left_out for s, m in self._members) / sum(s for s, _ in self._members)
        self.tau = _tau(left_out, standard)
        self.tau_of_measures = max((abs(_tau(column, standard)) for column in self._measures.T), default=0.0)

    @property
    def earned(self) -> bool:
        """Whether it ranks the networks it has not seen better than any cost or zero-cost score by itself does."""
        return self.tau > self.tau_of_measures

    def predict(self, genes: ArrayLike, measures: ArrayLike) -> tuple[Floats, Floats]:
        """The expected scores of networks, and the standard deviation of each; both (networks,)."""
        asked = self._scaled(np.asarray(measures, np.float64))
        apart = self._apart(np.asarray(genes, np.float64), asked)
        total = sum(share for share, _ in self._members)
        means, squares = np.zeros(len(asked)), np.zeros(len(asked))
        for share, member in self._members:
            mean, variance = _predict(member, apart)
            means += share / total * mean
            squares += share / total * (variance + mean**2)
        deviation = np.sqrt(np.maximum(squares - means**2, 0.0))
        return self._mean + self._deviation * means, self._deviation * deviation

    def _scaled(self, measures: Floats) -> Floats:
        return (measures[:, self._varies] - self._middle[self._varies]) / self._spread[self._varies]

    def _apart(self, genes: Floats, measures: Floats) -> tuple[Floats, Floats]:
        """Squared distances to the known networks, by genes and by measures, each (asked, known) and by column."""
        return _squared_distance(genes, self._genes), _squared_distance(measures, self._measures)


def encode_genomes(genes: Sequence[Gene], genomes: Sequence[Genome]) -> Floats:
    """Genomes as points: an ordered gene runs from 0 to 1, two categories of one gene are 1 apart.

    Returns:
        (genomes, columns).
    """
    columns = []
    chosen = np.asarray(genomes, dtype=np.int64).reshape(len(genomes), len(genes))
    for index, gene in enumerate(genes):
        if gene.size == 1:
            continue
        if gene.ordered:
            columns.append(chosen[:, index, None] / (gene.size - 1))
        else:
            columns.append((chosen[:, index, None] == np.arange(gene.size)) / np.sqrt(2))
    return np.hstack(columns) if columns else np.zeros((len(genomes), 0))


# ---------------------------------------------------------------------------------------------------------------------
# one Gaussian process


def _fit(apart: tuple[Floats, Floats], scores: Floats, reach: float, weight: float, noise: float) -> _Member:
    from scipy.linalg import cho_solve, cholesky

    count = len(scores)
    covariance = _matern(apart, reach, weight) + noise * np.eye(count)
    factor = cholesky(covariance, lower=True)
    inverse = cho_solve((factor, True), np.eye(count))
    weights = inverse @ scores
    scale = max(float(scores @ weights) / count, 1e-12)  # the scale at which the evidence is greatest
    return _Member(
        reach,
        weight,
        noise,
        evidence=-0.5 * count * np.log(scale) - float(np.log(np.diag(factor)).sum()),
        scale=scale,
        factor=factor,
        weights=weights,
        left_out=scores - weights / np.diag(inverse),
    )


def _predict(member: _Member, apart: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Mean and variance of what lies at these distances; the noise of a measurement is not part of it."""
    from scipy.linalg import solve_triangular

    covariance = _matern(apart, member.reach, member.weight)  # (asked, known)
    explained = solve_triangular(member.factor, covariance.T, lower=True)
    return covariance @ member.weights, member.scale * np.maximum(1 - (explained**2).sum(0), 0.0)


def _matern(apart: tuple[Floats, Floats], reach: float, weight: float) -> Floats:
    """Matern's covariance with nu = 5/2; Rasmussen & Williams, equation 4.17."""
    genes, measures = apart
    distance = np.sqrt(5 * (genes + weight * measures)) / reach
    return (1 + distance + distance**2 / 3) * np.exp(-distance)


def _squared_distance(one: Floats, other: Floats) -> Floats:
    """The mean over columns; 0 where there are none."""
    apart = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    return np.maximum(apart, 0.0) / max(one.shape[1], 1)


def _tau(one: Floats, other: Floats) -> float:
    return float(np.nan_to_num(kendall(one, other, np.ones((1, len(one))))[0]))
