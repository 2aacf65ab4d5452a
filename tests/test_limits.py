"""Proposals outside the limits become networks inside them, quickly, without a line in the ledger for each refusal."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from toy_study import ToyEvaluator, run_toy, toy_card, toy_cost, toy_space

from hrnas.ledger import Ledger
from hrnas.search.limits import Limits
from hrnas.space.architecture import Architecture
from hrnas.space.search_space import SearchSpace

CATEGORIES = {"stages[all].row.kind": ["shuffle", "residual"], "stages[0].fusion.kind": ["lite", "full"]}


def one_in(space: SearchSpace, count: int) -> dict[str, float]:
    """A limit on the operations that one random network in `count` meets."""
    rng = np.random.default_rng(5)
    costs = sorted(toy_cost(space.decode(space.sample(rng)))["macs"] for _ in range(500))
    return {"macs": costs[500 // count]}


def test_a_repaired_network_is_inside_and_one_step_from_the_limit() -> None:
    space, rng = toy_space(), np.random.default_rng(1)
    limits = Limits(space, one_in(space, 5), toy_cost)
    repaired = 0
    for _ in range(60):
        asked = limits.count(space.sample(rng))
        if not asked.broken:
            continue
        found = limits.repaired(asked, lambda: pytest.fail("numbers alone are enough here"), rng)
        assert not found.broken and found.costs == toy_cost(space.decode(found.genome))
        ordered = [gene.ordered for gene in space.genes]
        pairs = list(zip(asked.genome, found.genome, ordered, strict=True))
        assert all(a == b for a, b, numbers in pairs if not numbers), "the kinds stay"
        assert all(a >= b for a, b, numbers in pairs if numbers), "numbers only fall"
        above = [index for index, (a, b, _) in enumerate(pairs) if a > b]
        larger = [(*found.genome[:i], found.genome[i] + 1, *found.genome[i + 1 :]) for i in above]
        assert any(limits.count(genome).broken for genome in larger), "no further than it has to be"
        repaired += 1
    assert repaired > 20


def test_where_numbers_do_not_help_a_network_goes_towards_one_that_is_inside() -> None:
    space = toy_space(**CATEGORIES)
    limits = Limits(space, {"kinds": 1}, lambda a: {"kinds": 1 + sum(s.row.kind == "residual" for s in a.stages)})
    asked = limits.count(tuple(int(gene.values[1] == "residual") for gene in space.genes))
    assert asked.broken == ("kinds",)
    found = limits.repaired(asked, lambda: (0,) * len(space.genes), np.random.default_rng(0))
    assert not found.broken


def test_a_repair_follows_from_its_seed() -> None:
    space = toy_space()
    limits = Limits(space, one_in(space, 20), toy_cost)
    asked = limits.count(tuple(gene.size - 1 for gene in space.genes))

    def repaired(seed: int) -> tuple[int, ...]:
        return limits.repaired(asked, lambda: (0,) * 6, np.random.default_rng(seed)).genome

    assert [repaired(seed) for seed in range(8)] == [repaired(seed) for seed in range(8)]
    assert len({repaired(seed) for seed in range(8)}) > 3, "and another seed finds another"


def test_a_network_inside_is_found_where_there_is_one() -> None:
    space = toy_space()
    every = sorted(toy_cost(space.decode(genome))["macs"] for genome in space.enumerate())
    rng = np.random.default_rng(0)
    least, _ = Limits(space, {"macs": every[0]}, toy_cost).first_inside(rng)
    none, counted = Limits(space, {"macs": every[0] - 1}, toy_cost).first_inside(rng)
    assert not least.broken and least.costs["macs"] == every[0]
    assert none.broken == ("macs",) and none.costs["macs"] == every[0] and counted > 400


def test_refusals_are_counted_and_are_neither_trials_nor_lines(tmp_path: Path) -> None:
    limits = one_in(toy_space(), 8)
    result = run_toy(tmp_path, toy_card(trials=30, limits=limits), ToyEvaluator())
    ledger = Ledger.open(tmp_path / "ledger.sqlite")
    proposals, trials = ledger.proposals(), ledger.trials()
    assert result.complete and len(trials) == 30 and all(t.costs["macs"] <= limits["macs"] for t in trials)
    assert {p.outcome for p in proposals} <= {"new", "duplicate"} and {p.origin for p in proposals} == {
        "driver",
        "repaired",
    }
    assert all(p.refused == ({"macs": 1} if p.origin == "repaired" else {}) for p in proposals)
    assert result.infeasible == sum(p.origin == "repaired" for p in proposals) > 15


# ---------------------------------------------------------------------------------------------------------------------
# as large as it gets


@pytest.mark.slow
def test_costs_from_remembered_pieces_are_the_whole_count_and_come_quickly() -> None:
    """The second opinion builds and counts every piece anew."""
    from hrnas.nets.cost import _count, _pieces, _Tally, measure_cost
    from hrnas.space.search_space import load_space

    space, rng = load_space("joint"), np.random.default_rng(2)
    genomes = [space.sample(rng) for _ in range(200)]

    def count(architecture: Architecture) -> dict[str, float]:
        cost = measure_cost(architecture)
        return {"macs": cost.macs, "params": cost.params}

    limits = Limits(space, {"macs": 1.0}, count)
    for genome in genomes:
        limits.count(genome)
    missed, began = _count.cache_info().misses, time.process_time()
    remembered = [limits.count(genome).costs for genome in genomes]
    seconds = time.process_time() - began
    assert _count.cache_info().misses == missed
    assert seconds < 4 * 200 / 500, "500 a second where nobody else works; here with room for a busy machine"
    for genome, costs in zip(genomes, remembered, strict=True):
        total = _Tally()
        for piece in _pieces(space.decode(genome), 17, (256, 192)):
            total += _count.__wrapped__(piece.build, piece.arguments, piece.inputs, piece.reads) * piece.times
        assert (total.macs, total.params) == (costs["macs"], costs["params"])
