"""Let what was measured so far choose among many proposals: the one that promises most hypervolume.

    children of the front, some random ones -> costs, exactly -> score, predicted, and how sure -> expected gain -> best

A network's costs are known before it is trained, so that only the score has to be guessed: a black-box sampler has to
learn from examples what a network costs, and spends its trials on it. The gain is expected over the score alone, at the
cost that the network really has: Emmerich, Deutz & Klinkenberg, Hypervolume-based expected improvement (CEC 2011), with
all goals but one known. The predictor is `hrnas.search.predictor`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnas.search.drivers.archive import Archive, first_unseen
from hrnas.search.drivers.driver import Ask, Costs, Space, Told
from hrnas.search.drivers.evolution_driver import cross
from hrnas.search.predictor import Predictor, encode_genomes
from hrnas.space.genome import Genome

Floats = NDArray[np.float64]

TAUGHT = 200  # networks that the predictor learns from at most: half of them the newest, before them those on the front
LEAST = 12  # measured networks; a tau of fewer says nothing
SPREAD = 16  # random genomes of which one is proposed at the beginning
COMPARED = 20_000  # candidates times trials, at most: whoever makes thousands of trials has no time for each of them
FEWEST_COMPARED = 8
CELLS = 1024  # into which the known goals' space is cut, at most


class ModelDriver:
    """Ask for what the model expects most of.

    Args:
        reference: of the hypervolume, in plain units; where it is silent, 0 for a score, and for a cost its limit, or
            else the worst that was measured.
        limits: upper limits of costs.
        costs: what a genome costs by name; without it costs are predicted as scores are, and limits are not looked at.
        startup: random proposals at the beginning, so chosen that their costs spread.
        candidates: proposals that an ask compares.
    """

    def __init__(
        self,
        space: Space,
        goals: Mapping[str, str],
        reference: Mapping[str, float],
        limits: Mapping[str, float],
        costs: Costs | None,
        startup: int,
        candidates: int,
    ) -> None:
        self._space, self._goals = space, dict(goals)
        self._reference, self._limits = reference, limits
        self._costs = None if costs is None else lru_cache(maxsize=16_384)(costs)
        self._startup, self._candidates = startup, candidates
        self._archive = Archive(goals)
        self._taught: tuple[object, dict[int, Predictor]] = (None, {})

    def tell(self, told: Told) -> None:
        self._archive.tell(told)

    def ask(self, seed: int) -> Ask:
        rng = np.random.default_rng(seed)
        numbers, _ = self._archive.measured()
        if len(numbers) < self._startup:
            return Ask(self._spread(rng))
        candidates = self._children(rng)
        if not candidates:
            return Ask(self._draw(rng))
        return Ask(candidates[int(self.gain(candidates).argmax())], self.noted())

    # -- proposals ----------------------------------------------------------------------------------------------------

    def _spread(self, rng: np.random.Generator) -> Genome:
        """Of some drawn ones the one whose costs are least like those that were proposed."""
        if self._costs is None or not self._archive.seen:
            return self._draw(rng)
        drawn = self._inside([self._draw(rng) for _ in range(SPREAD)])
        apart = abs(self._measures(drawn)[:, None] - self._measures(sorted(self._archive.seen)))
        return drawn[int(apart.sum(2).min(1).argmax())]

    def _children(self, rng: np.random.Generator) -> list[Genome]:
        """Genomes that were not proposed yet: mutations of one or (every third) of two on the front; a sixth drawn."""
        front, _ = self._archive.front()
        parents = [self._archive.genomes[number] for number in front]
        found: dict[Genome, None] = {}
        for turn in range(max(FEWEST_COMPARED, min(self._candidates, COMPARED // len(self._archive.seen)))):
            genome = self._space.sample(rng) if turn % 6 == 5 else parents[int(rng.integers(len(parents)))]
            if turn % 3 == 0:
                genome = cross(genome, parents[int(rng.integers(len(parents)))], rng)
            found[genome if turn % 6 == 5 else self._space.mutate(genome, rng)] = None
        return self._inside([genome for genome in found if genome not in self._archive.seen])

    def _draw(self, rng: np.random.Generator) -> Genome:
        return first_unseen(lambda: self._space.sample(rng), self._archive.seen) or self._space.sample(rng)

    def _inside(self, genomes: list[Genome]) -> list[Genome]:
        """Those inside the limits; all, where none is."""
        if self._costs is None:
            return genomes
        priced = [(genome, self._costs(genome)) for genome in genomes]
        inside = [g for g, costs in priced if all(costs[name] <= limit for name, limit in self._limits.items())]
        return inside or genomes

    # -- what they promise --------------------------------------------------------------------------------------------

    def trust(self) -> tuple[float, float]:
        """Kendall's tau with networks not seen, and the best of one cost by itself; 0 and 0 where too few are known."""
        if len(self._archive.measured()[0]) < LEAST:
            return 0.0, 0.0
        predictors = self._predictors().values()
        return min(p.tau for p in predictors), max(p.tau_of_measures for p in predictors)

    def noted(self) -> dict[str, Any]:
        """For the state of a proposal that the predictor chose: how far it can be trusted."""
        tau, of_costs = self.trust()
        return {"predictor": {"tau": round(tau, 3), "of_costs": round(of_costs, 3)}} if tau or of_costs else {}

    def gain(self, candidates: Sequence[Genome]) -> Floats:
        """By how much each is expected to raise the hypervolume: (candidates,)."""
        means, deviations = self._predict(candidates)
        _, front = self._archive.front()
        if self._archive.pending:  # what other workers measure is on the front already, as well as is expected of it
            pending = [self._archive.genomes[number] for number in sorted(self._archive.pending)]
            front = np.vstack([front, self._predict(pending)[0]])
        guessed = next((column for column, way in enumerate(self._goals.values()) if way == "maximize"), 0)
        return expected_gain(means, deviations[:, guessed], guessed, front, self._corner())

    def _predict(self, genomes: Sequence[Genome]) -> tuple[Floats, Floats]:
        """What is expected, to be minimised, and the standard deviation, 0 for costs: (genomes, goals) each."""
        encoded, measures = encode_genomes(self._space.genes, genomes), self._measures(genomes)
        predictors = self._predictors()
        means, deviations = np.zeros((2, len(genomes), len(self._goals)))
        for column, goal in enumerate(self._goals):
            if column in predictors:
                means[:, column], deviations[:, column] = predictors[column].predict(encoded, measures)
            else:
                assert self._costs is not None
                means[:, column] = [math.log10(self._costs(genome)[goal]) for genome in genomes]
        return means, deviations

    def _predictors(self) -> dict[int, Predictor]:
        """A predictor for each goal that is no known cost; learnt anew with every twentieth part more."""
        numbers, values = self._archive.measured()
        step = min(max(len(numbers) // 20, 1), 10)
        numbers, values = numbers[: len(numbers) // step * step], values[: len(numbers) // step * step]
        if len(numbers) > TAUGHT:
            front, _ = self._archive.front()
            older = np.flatnonzero(np.isin(numbers[: -TAUGHT // 2], front))[-TAUGHT // 2 :]
            taught = np.r_[older, np.arange(len(numbers) - TAUGHT // 2, len(numbers))]
            numbers, values = numbers[taught], values[taught]
        lesson = (numbers.tobytes(), values.tobytes())
        if self._taught[0] != lesson:
            genomes = [self._archive.genomes[number] for number in numbers]
            known = self._costs(genomes[0]) if self._costs else {}
            encoded, measures = encode_genomes(self._space.genes, genomes), self._measures(genomes)
            unknown = [column for column, goal in enumerate(self._goals) if goal not in known]
            self._taught = lesson, {c: Predictor(encoded, measures, values[:, c]) for c in unknown}
        return self._taught[1]

    def _measures(self, genomes: Sequence[Genome]) -> Floats:
        """(genomes, costs): the logarithm of what each costs; no columns where costs are not known."""
        if self._costs is None:
            return np.zeros((len(genomes), 0))
        return np.array([[math.log10(cost) for cost in self._costs(genome).values()] for genome in genomes])

    def _corner(self) -> Floats:
        """The reference, to be minimised: (goals,)."""
        worst = []
        for (goal, way), largest in zip(self._goals.items(), self._archive.measured()[1].max(0), strict=True):
            if way == "maximize":
                worst.append(-self._reference.get(goal, 0.0))
            else:
                given = self._reference.get(goal, self._limits.get(goal))
                worst.append(largest if given is None else math.log10(given))
        return np.array(worst)


def expected_gain(means: Floats, deviation: Floats, guessed: int, front: Floats, corner: Floats) -> Floats:
    """By how much each candidate is expected to raise the hypervolume, where one goal is normal and the others certain.

    The other goals' space is cut at the front's values: in each cell the guessed goal has to beat the best of what
    costs no more, so that the gain is the cell's share that the candidate reaches times its expected improvement there.
    Where that makes more than `CELLS`, it is cut at some of the values.

    Args:
        means: (candidates, goals), minimised.
        deviation: (candidates,), of the guessed goal.
        front: (members, goals).
        corner: (goals,), the hypervolume's reference.

    Returns:
        (candidates,).
    """
    from scipy.special import ndtr

    known = np.delete(np.arange(means.shape[1]), guessed)
    low, high = _cells(front[:, known], corner[known])
    beaten = (front[:, None, known] <= low).all(2)  # (members, cells)
    best = np.where(beaten, front[:, None, guessed], corner[guessed]).min(0, initial=corner[guessed])
    reached = np.maximum(high - np.maximum(low, means[:, None, known]), 0.0).prod(2)  # (candidates, cells)
    better, spread = best - means[:, guessed, None], np.maximum(deviation, 1e-12)[:, None]
    z = better / spread
    return (reached * (better * ndtr(z) + spread * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi))).sum(1)


def _cells(values: Floats, corner: Floats) -> tuple[Floats, Floats]:
    """The cells between the values of each goal and the corner: their lower and upper ends, (cells, goals) each."""
    most = int(CELLS ** (1 / max(len(corner), 1)))
    lows, highs = [], []
    for column, end in zip(values.T, corner, strict=True):
        cuts = np.unique(np.minimum(column, end))
        if len(cuts) >= most:
            cuts = cuts[np.linspace(0, len(cuts) - 1, most - 1).round().astype(int)]
        lows.append(np.r_[-np.inf, cuts])
        highs.append(np.r_[cuts, end])
    return _grid(lows), _grid(highs)


def _grid(axes: Sequence[Floats]) -> Floats:
    """Every combination of the axes' values: (combinations, axes); a single empty one without axes."""
    combinations = [*product(*axes)]
    return np.array(combinations, dtype=np.float64).reshape(len(combinations), len(axes))
