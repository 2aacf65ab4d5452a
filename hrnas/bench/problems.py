"""Problems that are solved already: what a search proposes is answered from a table, or by what learnt from one.

| problem | networks | score | cost |
|---|---|---|---|
| mr_flops, mr_params | the whole space of NAS-Bench-MR, 27 genes | a surrogate's mIoU | exact |
| mr_table_flops, mr_table_params | its 2,503 recorded networks | recorded mIoU | recorded |
| small_joint_macs, small_joint_params | those of `tables/small_joint.csv` | recorded mean OKS | recorded |

Where only some networks are recorded, the space is those (`RecordedSpace`), and whatever a search proposes, the nearest
recorded network that this search has not seen yet answers; it is told that network's genome with that network's values.
So no driver needs to know that there is a table, and no value belongs to a network other than its own.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hrnas.bench.nas_bench_mr import GENES, Surrogate, Table, count, numbers_of, read_table, table_path
from hrnas.pareto import non_dominated
from hrnas.reading import UserError
from hrnas.search.drivers import Space
from hrnas.search.predictor import encode_genomes
from hrnas.space.genome import Gene, Genome
from hrnas.space.search_space import load_space

__all__ = [
    "PROBLEMS",
    "Answer",
    "PlainSpace",
    "Problem",
    "RecordedSpace",
    "RecordedTraining",
    "load_problem",
    "read_training",
]

Floats = NDArray[np.float64]
Way = Literal["maximize", "minimize"]

TABLE = Path(__file__).parent / "tables" / "small_joint.csv"


class Answer(NamedTuple):
    """The network that answers a proposal, and its values in plain units."""

    genome: Genome
    values: dict[str, float]


class Source(Protocol):
    """What knows the values of networks: of all of a space, or of some."""

    def answer(self, genome: Genome, seen: AbstractSet[Genome]) -> Answer: ...
    def costs(self, genome: Genome) -> dict[str, float]: ...
    def best_known(self) -> Floats: ...


@dataclass(frozen=True)
class Problem:
    """What is searched, for what, and how it is answered.

    Attributes:
        goals: one score, which is maximised, and costs, which are minimised.
        reference: the hypervolume's worst corner in plain units; networks outside it count as evaluations and add
            nothing. There are no other limits.
        evaluations: how many a comparison gives each method, unless told otherwise.
        notes: what a reader has to know of the values.
    """

    name: str
    about: str
    space: Space
    goals: Mapping[str, Way]
    reference: Mapping[str, float]
    evaluations: int
    source: Source
    notes: tuple[str, ...] = ()

    def answer(self, genome: Genome, seen: AbstractSet[Genome]) -> Answer:
        """What a proposal is answered with, given the networks that this search has seen."""
        return self.source.answer(genome, seen)

    def costs(self, genome: Genome) -> dict[str, float]:
        """What a network costs, which a study knows before it trains it."""
        return self.source.costs(genome)

    def oriented(self, values: Sequence[Mapping[str, float]]) -> Floats:
        """(networks, goals) to be minimised: scores with their sign turned, costs as log10, as in `hrnas.pareto`."""
        rows = [[self._axis(goal, each[goal]) for goal in self.goals] for each in values]
        return np.asarray(rows, np.float64).reshape(len(values), len(self.goals))

    @property
    def corner(self) -> list[float]:
        """The reference on the axes of `oriented`."""
        return [self._axis(goal, self.reference[goal]) for goal in self.goals]

    @cached_property
    def best_known(self) -> Floats:
        """The best front that is known inside the reference, (networks, goals), on the axes of `oriented`."""
        front = self.source.best_known()
        return front[(front < self.corner).all(axis=1)]

    def _axis(self, goal: str, value: float) -> float:
        return -value if self.goals[goal] == "maximize" else float(np.log10(value))


# ---------------------------------------------------------------------------------------------------------------------
# where answers come from


class Recorded:
    """Answer with the nearest recorded network that was not seen."""

    def __init__(self, space: RecordedSpace, values: Mapping[Genome, dict[str, float]]) -> None:
        self._space = space
        self._values = values

    def answer(self, genome: Genome, seen: AbstractSet[Genome]) -> Answer:
        found = next((other for other in self._space.by_distance(genome) if other not in seen), None)
        if found is None:
            raise UserError(f"all {len(self._values)} recorded networks were evaluated: ask for fewer evaluations")
        return Answer(found, self._values[found])

    def costs(self, genome: Genome) -> dict[str, float]:
        """Those of the nearest recorded network."""
        values = self._values[self._space.canonical(genome)]
        return {name: value for name, value in values.items() if name != "score"}

    def best_known(self) -> Floats:
        """The front of all that are recorded."""
        rows = np.array([_oriented(values) for values in self._values.values()])
        return rows[non_dominated(rows)]


class Modelled:
    """Answer for any network of NAS-Bench-MR's space: the surrogate's mIoU, and the cost counted."""

    def __init__(self, surrogate: Surrogate, cost: str) -> None:
        self._surrogate = surrogate
        self._cost = cost

    def answer(self, genome: Genome, seen: AbstractSet[Genome]) -> Answer:
        score, cost = self._measure([genome])[0]
        return Answer(genome, {"score": float(score), self._cost: float(cost)})

    def costs(self, genome: Genome) -> dict[str, float]:
        """Both, whichever is a goal."""
        params, operations = count([gene.values[index] for gene, index in zip(GENES, genome, strict=True)])
        return {"params": float(params), "all_ops": operations / 1e9}

    def _measure(self, genomes: Sequence[Genome]) -> Floats:
        """(genomes, 2): score and cost."""
        numbers = numbers_of(genomes)
        params, operations = count(numbers)
        cost = params if self._cost == "params" else operations / 1e9
        return np.stack([self._surrogate.scores(numbers), cost], axis=1)

    def best_known(self, generations: int = 100, children: int = 400) -> Floats:
        """The front of 40,000 networks that a plain evolution proposes: crossing and mutating those on the front."""
        rng = np.random.default_rng(0)
        sizes = np.array([gene.size for gene in GENES])
        pool = rng.integers(sizes, size=(children, len(sizes)))
        rows = np.empty((0, 2))
        front = pool[:0]
        for _ in range(generations):
            score, cost = self._measure([*map(tuple, pool)]).T
            rows = np.vstack([rows, np.stack([-score, np.log10(cost)], axis=1)])
            front = np.vstack([front, pool])
            best = non_dominated(rows)
            rows, front = rows[best], front[best]
            one, other = front[rng.integers(len(front), size=(2, children))]
            crossed = np.where(rng.random(pool.shape) < 0.5, one, other)
            moved = rng.random(pool.shape) < 1.5 / len(sizes)
            pool = np.clip(crossed + moved * rng.choice([-2, -1, 1, 2], size=pool.shape), 0, sizes - 1)
        return rows


def _oriented(values: Mapping[str, float]) -> list[float]:
    score, cost = values.values()
    return [-score, float(np.log10(cost))]


class PlainSpace:
    """A space of ordered genes that are all active and free of each other."""

    def __init__(self, name: str, genes: tuple[Gene, ...]) -> None:
        self.name = name
        self.genes = genes

    def canonical(self, genome: Genome) -> Genome:
        """A genome is its own."""
        return genome

    def sample(self, rng: np.random.Generator) -> Genome:
        """Drawn uniformly."""
        return tuple(int(rng.integers(gene.size)) for gene in self.genes)

    def mutate(self, genome: Genome, rng: np.random.Generator, rate: float | None = None) -> Genome:
        """As `SearchSpace.mutate` does it: one gene of its length on average, at least one, near values first."""
        chosen = rng.random(len(genome)) < (rate if rate is not None else 1 / len(genome))
        if not chosen.any():
            chosen[rng.integers(len(genome))] = True
        changed = list(genome)
        for index in np.flatnonzero(chosen):
            others = np.delete(np.arange(self.genes[index].size), genome[index])
            near = 1 / np.abs(others - genome[index])
            changed[index] = int(rng.choice(others, p=near / near.sum()))
        return tuple(changed)

    def neighbours(self, genome: Genome) -> list[Genome]:
        """Every genome one step away."""
        return [
            (*genome[:index], value, *genome[index + 1 :])
            for index, gene in enumerate(self.genes)
            for value in (genome[index] - 1, genome[index] + 1)
            if 0 <= value < gene.size
        ]


class RecordedSpace:
    """Some networks of a space: whatever is drawn or changed, the nearest of them stands for it.

    Near means few steps of ordered genes, each a share of its gene, and few categories.
    """

    NEIGHBOURS = 10

    def __init__(self, space: Space, genomes: Sequence[Genome]) -> None:
        self.name = space.name
        self.genes = space.genes
        self._space = space
        self._genomes = [*genomes]
        self._there = {*genomes}
        self._places = encode_genomes(space.genes, self._genomes)

    def by_distance(self, genome: Genome) -> Iterator[Genome]:
        """All of them, the nearest first."""
        apart = ((self._places - encode_genomes(self.genes, [genome])) ** 2).sum(1)
        return (self._genomes[index] for index in np.argsort(apart, kind="stable"))

    def canonical(self, genome: Genome) -> Genome:
        """The nearest of them."""
        return genome if genome in self._there else next(self.by_distance(self._space.canonical(genome)))

    def sample(self, rng: np.random.Generator) -> Genome:
        """Each as likely as any other."""
        return self._genomes[int(rng.integers(len(self._genomes)))]

    def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """The nearest to a mutation of the whole space, other than the parent."""
        changed = self._space.mutate(genome, rng)
        return next(other for other in self.by_distance(changed) if other != genome)

    def neighbours(self, genome: Genome) -> list[Genome]:
        """The ten nearest."""
        return [*islice((other for other in self.by_distance(genome) if other != genome), self.NEIGHBOURS)]


# ---------------------------------------------------------------------------------------------------------------------
# the table of our own


@dataclass(frozen=True)
class RecordedTraining:
    """One architecture trained once, with what each epoch gave.

    Attributes:
        scores, aps: (epochs,), after each epoch.
        seconds: (epochs,), of training up to the end of each epoch, on one core.
    """

    key: str
    genome: Genome
    seed: int
    costs: dict[str, float]
    scores: list[float] = field(default_factory=list)
    aps: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def read_training(path: Path | None = None) -> list[RecordedTraining]:
    """All recorded trainings, in the order in which they were made.

    Args:
        path: of the table (default: the one that hrnas ships).

    Raises:
        UserError: there is no such table.
    """
    path = path or TABLE
    if not path.is_file():
        raise UserError(f"no recorded table {path}: benchmarks/record_table.py makes it")
    found: dict[tuple[str, int], RecordedTraining] = {}
    with path.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            key, seed = row["key"], int(row["seed"])
            genome = tuple(json.loads(row["genome"]))
            costs = {"params": float(row["params"]), "macs": float(row["macs"])}
            training = found.setdefault((key, seed), RecordedTraining(key, genome, seed, costs))
            training.scores.append(float(row["score"]))
            training.aps.append(float(row["ap"]))
            training.seconds.append(float(row["seconds"]))
    return [*found.values()]


# ---------------------------------------------------------------------------------------------------------------------
# the problems


@lru_cache(maxsize=1)
def _table(path: Path) -> Table:
    return read_table(path)


@lru_cache(maxsize=1)
def _surrogate(path: Path) -> Surrogate:
    return Surrogate(_table(path))


_MR_REFERENCE = {"score": 0.55, "all_ops": 5.0, "params": 10e6}
_SMALL_REFERENCE = {"score": 0.08, "macs": 60e6, "params": 1.2e6}  # no untrained network scores more


def _mr(cost: str, data: Path | None) -> Problem:
    surrogate = _surrogate(table_path(data))
    return Problem(
        name=f"mr_{'params' if cost == 'params' else 'flops'}",
        about=f"NAS-Bench-MR's whole space: mIoU of a surrogate over {_COST_NAMES[cost]}",
        space=PlainSpace("nas_bench_mr", GENES),
        goals={"score": "maximize", cost: "minimize"},
        reference={goal: _MR_REFERENCE[goal] for goal in ("score", cost)},
        evaluations=200,
        source=Modelled(surrogate, cost),
        notes=(
            f"scores are a surrogate's: boosted trees, Kendall's tau {surrogate.tau:.2f} in 5-fold cross-validation",
            "costs are exact: the same closed form gives every digit of all 2,507 rows of the table",
            "the best known front is that of 40,000 networks proposed by a plain evolution on the surrogate",
        ),
    )


def _mr_table(cost: str, data: Path | None) -> Problem:
    table = _table(table_path(data))
    prices = table.params if cost == "params" else table.operations / 1e9
    values = {
        genome: {"score": float(table.scores[row]), cost: float(prices[row])} for genome, row in table.genomes.items()
    }
    space = RecordedSpace(PlainSpace("nas_bench_mr", GENES), [*values])
    return Problem(
        name=f"mr_table_{'params' if cost == 'params' else 'flops'}",
        about=f"NAS-Bench-MR's recorded networks: mIoU over {_COST_NAMES[cost]}",
        space=space,
        goals={"score": "maximize", cost: "minimize"},
        reference={goal: _MR_REFERENCE[goal] for goal in ("score", cost)},
        evaluations=200,
        source=Recorded(space, values),
        notes=(f"{len(values):,} recorded networks; the nearest one that was not seen answers a proposal",),
    )


def _small_joint(cost: str, data: Path | None) -> Problem:
    trained = [training for training in read_training() if training.seed == 0]
    values = {t.genome: {"score": t.scores[-1], cost: t.costs[cost]} for t in trained}
    space = RecordedSpace(load_space("small_joint"), [*values])
    return Problem(
        name=f"small_joint_{cost}",
        about=f"networks of search_spaces/small_joint.yaml that we trained: mean OKS over {_COST_NAMES[cost]}",
        space=space,
        goals={"score": "maximize", cost: "minimize"},
        reference={goal: _SMALL_REFERENCE[goal] for goal in ("score", cost)},
        evaluations=20,
        source=Recorded(space, values),
        notes=(f"{len(values)} recorded networks; the nearest one that was not seen answers a proposal",),
    )


_COST_NAMES = {"all_ops": "GFLOPs", "params": "parameters", "macs": "MACs"}

PROBLEMS: Mapping[str, Callable[[Path | None], Problem]] = {
    "mr_flops": partial(_mr, "all_ops"),
    "mr_params": partial(_mr, "params"),
    "mr_table_flops": partial(_mr_table, "all_ops"),
    "mr_table_params": partial(_mr_table, "params"),
    "small_joint_macs": partial(_small_joint, "macs"),
    "small_joint_params": partial(_small_joint, "params"),
}


def load_problem(name: str, data: Path | None = None) -> Problem:
    """A problem by its name.

    Args:
        data: the folder that holds `nas_bench_mr/` (default: HRNAS_DATA).

    Raises:
        UserError: there is no such problem, or its table is not there.
    """
    if name not in PROBLEMS:
        raise UserError(f"there is no problem '{name}'; there are: {', '.join(PROBLEMS)}")
    return PROBLEMS[name](data)
