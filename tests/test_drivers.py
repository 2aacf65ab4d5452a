"""What every driver promises, whatever library proposes; then what each does with what it hears."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from toy_study import toy_card, toy_cost, toy_score, toy_space

from hrnas.search.drivers import DRIVERS, Told, make_driver, seed_of_ask
from hrnas.search.drivers.optuna_driver import OptunaDriver, Parameters
from hrnas.space.genome import Gene

CARDS: list[dict[str, Any]] = [
    {"kind": "random", "seed": 1},
    *(
        {"kind": "optuna", "sampler": name, "seed": 1, "population": 6, "startup": 5}
        for name in ("tpe", "nsga2", "nsga3")
    ),
    *(
        {"kind": "nni", "tuner": name, "seed": 1, "population": 6, "startup": 5}
        for name in ("tpe", "evolution", "regularized_evolution", "random", "grid")
        if find_spec("nni")
    ),
]
SPACE = toy_space()
GOALS: Mapping[str, Any] = {"score": "maximize", "macs": "minimize"}


def new_driver(card: Mapping[str, Any]) -> Any:
    return make_driver(toy_card(driver=card), SPACE)


def what_became(number: int, genome: tuple[int, ...], state: Mapping[str, Any]) -> Told:
    """A deterministic world: small networks only, and every ninth fails."""
    architecture = SPACE.decode(genome)
    costs = toy_cost(architecture)
    excess = {"macs": costs["macs"] / 220_000 - 1}
    if excess["macs"] > 0:
        return Told(number, genome, "infeasible", excess=excess, state=state)
    if number % 9 == 8:
        return Told(number, genome, "failed", excess=excess, state=state)
    values = {"score": toy_score(architecture, 1, 1), "macs": costs["macs"]}
    return Told(number, genome, "measured", values, excess, state)


def run(card: Mapping[str, Any], asks: int) -> list[Told]:
    driver, told = new_driver(card), []
    for number in range(asks):
        ask = driver.ask(seed_of_ask(1, number))
        told.append(what_became(number, ask.genome, ask.state))
        driver.tell(told[-1])
    return told


def name_of(card: Mapping[str, Any]) -> str:
    return "-".join(str(card[part]) for part in ("kind", "sampler", "tuner") if part in card)


@pytest.fixture(params=CARDS, ids=name_of)
def card(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    return request.param


def test_every_kind_of_card_has_its_driver() -> None:
    assert set(DRIVERS) == {"random", "optuna", "nni"}
    for card in CARDS:
        assert new_driver(card)


def test_a_driver_proposes_canonical_genomes_of_the_space(card: Mapping[str, Any]) -> None:
    for told in run(card, 30):
        assert SPACE.canonical(told.genome) == told.genome
        assert SPACE.decode(told.genome).problems() == []


def test_a_rebuilt_driver_asks_what_the_first_would_have_asked(card: Mapping[str, Any]) -> None:
    """The heart of resuming: at every point of a run a new driver that hears the same goes on in the same way."""
    told = run(card, 40)
    for stop in (0, 1, 7, 13, 26, 39):
        driver = new_driver(card)
        for one in told[:stop]:
            driver.tell(one)
        ask = driver.ask(seed_of_ask(1, stop))
        assert (ask.genome, ask.state) == (told[stop].genome, told[stop].state)


def test_a_corrected_tell_counts_like_a_first_one(card: Mapping[str, Any]) -> None:
    told = run(card, 20)
    corrected, fresh = new_driver(card), new_driver(card)
    for one in told:
        early = Told(one.number, one.genome, "pending", state=one.state)
        corrected.tell(early)
        fresh.tell(one)
    corrected.ask(seed_of_ask(1, 99))
    for one in told:
        corrected.tell(one)
    assert corrected.ask(seed_of_ask(1, 20)) == fresh.ask(seed_of_ask(1, 20))


def test_another_seed_gives_another_proposal(card: Mapping[str, Any]) -> None:
    driver = new_driver(card)
    different = len({driver.ask(seed_of_ask(seed, 0)).genome for seed in range(6)})
    assert different == 1 if name_of(card) == "nni-grid" else different > 1, "only a grid has no dice"
    assert len({seed_of_ask(seed, number) for seed in range(10) for number in range(10)}) == 100


def test_asking_and_telling_raises_no_warning(card: Mapping[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(card, 15)


def test_random_never_repeats_while_anything_is_left() -> None:
    space = toy_space(**{"widths[0]": {"from": 16, "to": 44, "step": 4}})
    driver = make_driver(toy_card(), space)
    for number in range(8):
        driver.tell(Told(number, driver.ask(seed_of_ask(1, number)).genome, "pending"))
    assert len({driver.ask(number).genome for number in range(5)}) > 1, "then it repeats instead of hanging"
    assert driver._seen == {(index,) for index in range(8)}  # type: ignore[attr-defined]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3"])
def test_a_sampler_learns_where_the_limits_are(sampler: str) -> None:
    """More than half of all random networks are too large here; told so, a sampler proposes fewer of them."""
    card = {"kind": "optuna", "sampler": sampler, "seed": 1, "population": 10, "startup": 10}
    outcomes = [told.outcome for told in run(card, 80)]
    assert outcomes[:10].count("infeasible") >= 3
    assert outcomes[-40:].count("infeasible") < 0.6 * 4 * outcomes[:10].count("infeasible")


@pytest.mark.parametrize("sampler", ["nsga2", "nsga3"])
def test_generations_survive_a_rebuild(sampler: str) -> None:
    told = run({"kind": "optuna", "sampler": sampler, "population": 6, "seed": 1}, 40)
    generations = [next(iter(one.state["trial"].values())) for one in told]
    assert generations == sorted(generations) and generations[-1] >= 5
    chosen = {name: parents for one in told for name, parents in one.state.get("parents", {}).items()}
    assert len(chosen) == generations[-1], "parents are chosen once for each generation and noted"
    assert all(0 <= parent < 40 for parents in chosen.values() for parent in parents)


def test_a_published_point_belongs_to_the_first_generation() -> None:
    """Optuna leaves trials that its sampler did not propose out of every population; ours take part."""
    driver = OptunaDriver(SPACE, GOALS, "nsga2", population=4)
    rng = np.random.default_rng(0)
    for number in range(4):
        driver.tell(Told(number, SPACE.sample(rng), "measured", {"score": 0.1 * number, "macs": 1e5 * (5 - number)}))
    ask = driver.ask(seed_of_ask(1, 4))
    assert ask.state["trial"] == {"NSGAIISampler:generation": 1}
    assert ask.state["parents"] == {"NSGAIISampler:parent:1": [0, 1, 2, 3]} or set(
        ask.state["parents"]["NSGAIISampler:parent:1"]
    ) <= {0, 1, 2, 3}


def test_genes_and_parameters_go_over_into_each_other() -> None:
    genes = (
        Gene("widths[0]", (16, 24, 32), ordered=True),
        Gene("stages[0].modules", (1, 2, 4), ordered=True),
        Gene("row.kind", ("shuffle", "residual"), ordered=False),
        Gene("row", ({"kind": "shuffle"}, {"kind": "residual", "groups": 2}), ordered=False),
        Gene("kernel", (3, 5, "none"), ordered=False),
        Gene("fixed", (7,), ordered=False),
    )
    parameters = Parameters(genes)
    rng = np.random.default_rng(0)
    for _ in range(20):
        genome = tuple(int(rng.integers(gene.size)) for gene in genes)
        values = parameters.values(genome)
        assert parameters.genome(values) == genome
        assert "fixed" not in values
        assert all(
            dist._contains(dist.to_internal_repr(values[name])) for name, dist in parameters.distributions.items()
        )
    assert parameters.values((1, 2, 0, 0, 2, 0)) == {
        "widths[0]": 24,  # evenly spaced numbers appear as themselves,
        "stages[0].modules": 2,  # others by their index
        "row.kind": "shuffle",
        "row": '{"kind": "shuffle"}',
        "kernel": '"none"',
    }
