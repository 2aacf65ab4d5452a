"""Measure how far cheap rankings foretell a dear one: the same architectures, measured in many ways.

    architectures, evenly over log MACs -> rows (one per architecture and measure) -> tau, rho, regret -> a document

The dear ranking, the reference, is a training three times as long as the study's longest proxy; its ceiling is how well
another seed of that same training agrees with it. Every row is written as it comes, so a rank check may be stopped.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hrnas.cards.study import ZERO_COST, Rung, StudyCard
from hrnas.cards.trainer import Recipe
from hrnas.ledger import Ledger
from hrnas.reading import UserError, write_atomically
from hrnas.search.limits import CountCost
from hrnas.search.rank_document import COSTS, FEWEST, describe
from hrnas.search.rank_rows import TRAINED, Row, Table, read_rows, write_rows
from hrnas.search.study import conditions_of, published_points
from hrnas.search.worker import Evaluator
from hrnas.space.genome import Genome
from hrnas.space.search_space import SearchSpace

ROWS_FILE, RESULT_FILE, FOLDER = "rankcheck.csv", "rankcheck.json", "rankcheck"
LONGER = 3  # the reference trains so many times as long as the study's longest proxy
SHARES = (8, 4, 3)  # parts of the reference's epochs that are proxies too, where they cost nothing but their scoring
COUNT = 24  # architectures, if nothing else is said
STRATA = 8  # equal parts of the range of log MACs
POOL = 256  # networks drawn and counted to fill them
MOST_DRAWS = 20  # times as many draws, before a limit that almost nothing meets is given up

OnUnit = Callable[[int, int], None]  # measurements done, and in all


@dataclass(frozen=True)
class Measure:
    """One way to score an architecture.

    Attributes:
        names: of the values that one call gives.
        of: what decides the values beside architecture, budget and seed; rows of something else are measured again.
        folder: where the call keeps its checkpoints, below the architecture's.
    """

    names: tuple[str, ...]
    evaluator: Evaluator
    rung: Rung
    seed: int
    of: str
    folder: str = ""

    @property
    def budget(self) -> int:
        """Epochs of training."""
        return self.rung.epochs or 0


def budgets_of(card: StudyCard, recipe: Recipe) -> tuple[int, ...]:
    """The epochs to measure, the reference's last."""
    ladder = [rung.epochs for rung in card.ladder if rung.epochs is not None] or [recipe.epochs]
    reference = LONGER * max(ladder)
    free = shares_of(reference) if is_one_training(card, recipe) else ()
    return (*sorted({*ladder, *free}), reference)


def is_one_training(card: StudyCard, recipe: Recipe) -> bool:
    """Whether the reference passes through all budgets on its way: at a constant rate, from fresh weights."""
    return recipe.schedule.kind == "constant" and card.init == "fresh"


def shares_of(epochs: int) -> tuple[int, ...]:
    """An eighth, a quarter and a third of a training, in whole epochs."""
    return tuple(sorted({max(1, epochs // share) for share in SHARES} - {epochs}))


def check_ranking(
    card: StudyCard,
    space: SearchSpace,
    recipe: Recipe,
    folder: Path,
    ledger: Ledger,
    evaluators: Mapping[str, Evaluator],
    count_cost: CountCost,
    *,
    count: int | None = None,
    seeds: int = 2,
    table: Table | None = None,
    missing: Sequence[str] = (),
    on_unit: OnUnit = lambda done, total: None,
) -> dict[str, Any]:
    """Measure what is still missing, and say what all of it means.

    Args:
        evaluators: by fidelity: what there is of `zero_cost`, `inherited`, `proxy`, and `reference`, which trains for
            the reference's epochs in one go (not needed with a table).
        count: architectures to draw (default: 24); the published points in the space come on top. With a table: the
            first so many of its architectures (default: all).
        seeds: of the trainings; the first is the study's own.
        table: take architectures and trainings from there instead of training.
        missing: what could not be measured from the start, in words.

    Returns:
        the document that is also in `rankcheck.json` and in the ledger.

    Raises:
        UserError: the rows of before are not as they must be, or too few architectures are within the limits.
    """
    of = _label(card, recipe)
    path = folder / ROWS_FILE
    rows = read_rows(path)
    if table is not None:
        longest = table.epochs
        keys = list(dict.fromkeys(row.key for row in table.rows))[:count]
        recorded = [row for row in table.rows if row.key in set(keys)]
        genomes = {row.key: row.genome for row in recorded}
        plan = list(_untrained(evaluators, of, card.driver.seed))
    else:
        recorded, longest = [], budgets_of(card, recipe)[-1]
        keys = _draw(card, space, count_cost, COUNT if count is None else count, rows, of)
        write_rows(path, rows)
        genomes = {row.key: row.genome for row in rows if row.key in keys}
        plan = [*_untrained(evaluators, of, card.driver.seed), *_trained(evaluators, card, recipe, seeds, of)]
    failed = _measure_missing(plan, space, genomes, rows, path, folder, on_unit)
    valid = {measure.of for measure in plan} | {of}
    mine = [row for row in rows if row.key in genomes and row.of in valid and (table is None or row.measure != TRAINED)]
    known = {(row.key, row.measure, row.budget, row.seed): row for row in (*mine, *recorded)}
    document = {
        "study": card.name,
        "space": space.name,
        "measured": time.time(),
        "trainings": of if table is None else f"the recorded table {table.name}",
        "failed": [*missing, *failed],
        **describe(list(known.values()), longest, {net.key: name for name, net in published_points(card, space)}),
    }
    write_atomically(folder / RESULT_FILE, json.dumps(document, indent=1, allow_nan=False))
    ledger.put_rank_check(document)
    return document


# ---------------------------------------------------------------------------------------------------------------------
# which architectures


def _draw(
    card: StudyCard, space: SearchSpace, count_cost: CountCost, count: int, rows: list[Row], of: str
) -> list[str]:
    """Add rows of costs until the published points and `count` other architectures have them; those of before stay.

    Returns:
        the keys to measure.
    """
    there = dict.fromkeys(row.key for row in rows if row.measure == COSTS[0] and row.of == of)
    points = [architecture for _, architecture in published_points(card, space)]
    for architecture in points:
        costs = count_cost(architecture)
        if architecture.key not in there and _is_within(card, costs):
            _add_costs(rows, architecture.key, space.encode(architecture), costs, of)
    published = [architecture.key for architecture in points]
    drawn = [key for key in there if key not in published]
    if len(drawn) < count:
        for key, genome, costs in _stratified(card, space, count_cost, count):
            if key not in drawn and key not in published and len(drawn) < count:
                _add_costs(rows, key, genome, costs, of)
                drawn.append(key)
    return [row.key for row in rows if row.measure == COSTS[0] and row.key in {*published, *drawn[:count]}]


def _is_within(card: StudyCard, costs: Mapping[str, float]) -> bool:
    return all(costs[name] <= most for name, most in card.limits.items())


def _add_costs(rows: list[Row], key: str, genome: Genome, costs: Mapping[str, float], of: str) -> None:
    rows += [Row(key, genome, name, 0, 0, float(costs[name]), None, 0.0, of) for name in COSTS]


def _stratified(
    card: StudyCard, space: SearchSpace, count_cost: CountCost, count: int
) -> Iterator[tuple[str, Genome, Mapping[str, float]]]:
    """Networks within the card's limits, from each stratum of log MACs in turn.

    A space's typical network is large where width and depth multiply: drawn evenly over the networks, almost all would
    be of one size, and a ranking of them would not be that of a search's front.
    """
    rng = np.random.default_rng(0)
    pool: dict[str, tuple[Genome, Mapping[str, float]]] = {}
    refused: set[str] = set()
    for _ in range(MOST_DRAWS * POOL):
        counted = len(pool) + len(refused)
        if (counted >= POOL and len(pool) >= 2 * count) or counted == space.size:
            break
        genome = space.sample_evenly(rng)
        architecture = space.decode(genome)
        if architecture.key in pool or architecture.key in refused:
            continue
        costs = count_cost(architecture)
        if _is_within(card, costs):
            pool[architecture.key] = genome, costs
        else:
            refused.add(architecture.key)
    if len(pool) < FEWEST:
        raise UserError(
            f"{card.name}: only {len(pool)} of {len(pool) + len(refused)} networks drawn are within the limits; a rank "
            f"check needs at least {FEWEST}: allow more"
        )
    sizes = {key: math.log10(costs["macs"]) for key, (_, costs) in pool.items()}
    low, high = min(sizes.values()), max(sizes.values())
    width = (high - low) / STRATA or 1.0
    strata: list[list[str]] = [[] for _ in range(STRATA)]
    for key, size in sizes.items():
        strata[min(int((size - low) / width), STRATA - 1)].append(key)
    turns = sorted((turn, place, key) for place, stratum in enumerate(strata) for turn, key in enumerate(stratum))
    for _, _, key in turns:
        yield key, *pool[key]


# ---------------------------------------------------------------------------------------------------------------------
# how they are measured


def _label(card: StudyCard, recipe: Recipe) -> str:
    conditions = conditions_of(card, recipe)
    return f"{conditions.recipe}, {conditions.data}, {conditions.input}"


def _untrained(evaluators: Mapping[str, Evaluator], of: str, seed: int) -> Iterator[Measure]:
    if "zero_cost" in evaluators:
        yield Measure(ZERO_COST, evaluators["zero_cost"], Rung(fidelity="zero_cost"), seed, of)
    if "inherited" in evaluators:
        evaluator = evaluators["inherited"]
        # a supernet that learnt on has another name, and its scores are others
        which = getattr(evaluator, "weights", "")
        yield Measure(("inherited",), evaluator, Rung(fidelity="inherited"), seed, f"{of}, {which}")


def _trained(
    evaluators: Mapping[str, Evaluator], card: StudyCard, recipe: Recipe, seeds: int, of: str
) -> Iterator[Measure]:
    """Seed by seed, from short to long."""
    *proxies, reference = budgets_of(card, recipe)
    pieces = is_one_training(card, recipe)
    of_proxies = f"{of}, {getattr(evaluators['inherited'], 'weights', '')}" if card.init == "supernet" else of
    for seed in range(card.driver.seed, card.driver.seed + seeds):
        for epochs in proxies if pieces or seed == card.driver.seed else ():
            yield Measure((TRAINED,), evaluators["proxy"], Rung(epochs=epochs), seed, of_proxies, "proxy")
        evaluator, where = (evaluators["proxy"], "proxy") if pieces else (evaluators["reference"], "reference")
        yield Measure((TRAINED,), evaluator, Rung(epochs=reference), seed, of, where)


def _measure_missing(
    plan: Sequence[Measure],
    space: SearchSpace,
    genomes: Mapping[str, Genome],
    rows: list[Row],
    path: Path,
    folder: Path,
    on_unit: OnUnit,
) -> list[str]:
    """Measure what has no row yet, and write each row down at once.

    What does not train comes first, for all architectures; then all of one architecture's trainings with one seed, so
    that whenever this is stopped as many architectures as possible have their reference.

    Returns:
        what went wrong, in words; it is tried again the next time.
    """
    there = {(row.key, row.measure, row.budget, row.seed, row.of) for row in rows}

    def is_missing(key: str, measure: Measure) -> bool:
        return any((key, name, measure.budget, measure.seed, measure.of) not in there for name in measure.names)

    steps = {(measure.names[0] != TRAINED, measure.seed) for measure in plan}
    units = [
        (key, measure)
        for untrained, seed in sorted(steps, key=lambda step: (not step[0], step[1]))
        for key in genomes
        for measure in plan
        if (measure.names[0] != TRAINED, measure.seed) == (untrained, seed) and is_missing(key, measure)
    ]
    failed: dict[tuple[str, str, int], str] = {}
    if units:
        on_unit(0, len(units))
    for done, (key, measure) in enumerate(units, start=1):
        unit = (key, measure.names[0], measure.seed)
        if unit not in failed:  # a training that diverged has no longer one
            try:
                rows += _measure(measure, space, key, genomes[key], folder, rows)
                write_rows(path, rows)
            except UserError:
                raise
            except Exception as error:
                failed[unit] = f"{key}: {', '.join(measure.names)}: {type(error).__name__}: {error}"
        on_unit(done, len(units))
    return list(failed.values())


def _measure(
    measure: Measure, space: SearchSpace, key: str, genome: Genome, folder: Path, rows: Sequence[Row]
) -> list[Row]:
    began = time.monotonic()
    where = folder / FOLDER / key / measure.folder
    scores = measure.evaluator(space.decode(genome), measure.rung, measure.seed, where, lambda progress: None)
    before = max(
        (
            row.seconds
            for row in rows
            if (row.key, row.measure, row.seed, row.of) == (key, measure.names[0], measure.seed, measure.of)
            and measure.folder == "proxy"
            and row.budget < measure.budget
        ),
        default=0.0,
    )
    seconds = round(before + time.monotonic() - began, 1)
    values = {name: scores[name if name in ZERO_COST else "score"] for name in measure.names}
    if not all(math.isfinite(value) for value in values.values()):
        raise ValueError(f"not a finite score: {values}")
    return [
        Row(key, genome, name, measure.budget, measure.seed, float(value), scores.get("ap"), seconds, measure.of)
        for name, value in values.items()
    ]
