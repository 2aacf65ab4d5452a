"""What every driver promises, whatever library proposes; then what each does with what it hears."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtri
from toy_study import toy_card, toy_cost, toy_score, toy_space

from hrnas.bench.problems import PlainSpace
from hrnas.cards.drivers import _drivers, _kind
from hrnas.cards.study import StudyCard
from hrnas.pareto import hypervolume
from hrnas.reading import UserError, validate
from hrnas.search.drivers import DRIVERS, Told, make_driver, seed_of_ask
from hrnas.search.drivers.evolution_driver import cross
from hrnas.search.drivers.model_driver import expected_gain
from hrnas.search.drivers.optuna_driver import OptunaDriver, Parameters
from hrnas.space.genome import Gene

CARDS: list[dict[str, Any]] = [
    {"kind": "random", "seed": 1},
    {"kind": "evolution", "seed": 1, "population": 6, "sample": 3},
    {"kind": "local", "seed": 1, "startup": 5},
    {"kind": "model", "seed": 1, "startup": 5, "candidates": 10},
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
BUILT_IN = ["random", "evolution", "local", "model"]
SPACE = toy_space()
GOALS: Mapping[str, Any] = {"score": "maximize", "macs": "minimize"}


class Remembering(PlainSpace):
    """A space that remembers what was mutated, and of which the neighbours were asked."""

    def __init__(self, name: str, genes: tuple[Gene, ...]) -> None:
        super().__init__(name, genes)
        self.started: list[tuple[int, ...]] = []

    def mutate(self, genome: tuple[int, ...], rng: np.random.Generator, rate: float | None = None) -> tuple[int, ...]:
        self.started.append(genome)
        return super().mutate(genome, rng, rate)

    def neighbours(self, genome: tuple[int, ...]) -> list[tuple[int, ...]]:
        self.started.append(genome)
        return super().neighbours(genome)


def new_driver(card: Mapping[str, Any]) -> Any:
    return make_driver(toy_card(driver=card), SPACE, lambda genome: toy_cost(SPACE.decode(genome)))


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
    assert {card["kind"] for card in CARDS} <= set(DRIVERS) == {_kind(options) for options in _drivers()}
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


@pytest.mark.parametrize("kind", BUILT_IN)
def test_a_driver_of_our_own_never_repeats_while_anything_is_left(kind: str) -> None:
    space = toy_space(**{"widths[0]": {"from": 16, "to": 44, "step": 4}})
    driver = make_driver(
        toy_card(driver={"kind": kind, "startup": 5} if kind in ("local", "model") else {"kind": kind}), space
    )
    asked = []
    for number in range(8):
        asked.append(driver.ask(seed_of_ask(1, number)).genome)
        values = {"score": toy_score(space.decode(asked[-1]), 1, 1), "macs": toy_cost(space.decode(asked[-1]))["macs"]}
        driver.tell(Told(number, asked[-1], "measured", values))
    assert sorted(asked) == [(index,) for index in range(8)]
    assert len({driver.ask(number).genome for number in range(10)}) > 1, "then it repeats instead of hanging"


@pytest.mark.parametrize("kind", BUILT_IN)
def test_a_driver_of_our_own_asks_in_50_ms_after_10_000_trials(kind: str) -> None:
    genes = tuple(Gene(f"gene{index}", tuple(range(8)), ordered=index % 2 == 0) for index in range(30))
    space = PlainSpace("plain", genes)
    driver = make_driver(
        toy_card(driver={"kind": kind}), space, lambda genome: {"macs": 1 + sum(genome), "params": 1 + genome[0]}
    )
    rng = np.random.default_rng(0)
    for number in range(10_000):
        genome = space.sample(rng)
        driver.tell(Told(number, genome, "measured", {"score": rng.random(), "macs": 1 + sum(genome)}))
    driver.ask(0)  # imports, and what is remembered from then on
    began = time.process_time()
    for number in range(10_000, 10_020):
        ask = driver.ask(seed_of_ask(1, number))
        driver.tell(
            Told(number, ask.genome, "measured", {"score": rng.random(), "macs": 1 + sum(ask.genome)}, {}, ask.state)
        )
    assert (time.process_time() - began) / 20 < 0.05


@pytest.mark.parametrize("kind", ["evolution", "local"])
def test_where_nothing_is_inside_the_nearest_to_the_limits_is_followed(kind: str) -> None:
    space = Remembering("plain", tuple(Gene(f"gene{index}", tuple(range(9)), ordered=True) for index in range(4)))
    size = {"population": 2, "sample": 2, "crossover": 0.0} if kind == "evolution" else {"startup": 2}
    driver = make_driver(toy_card(driver={"kind": kind, **size}), space)
    for number in range(6):
        driver.tell(Told(number, (number,) * 4, "infeasible", excess={"macs": abs(number - 3) + 0.1, "params": -5.0}))
    for seed in range(10):
        driver.ask(seed)
    assert set(space.started) <= ({(3,) * 4, (2,) * 4, (4,) * 4} if kind == "evolution" else {(3,) * 4})


def test_evolution_forgets_the_old_however_good_they_were() -> None:
    space = Remembering("plain", tuple(Gene(f"gene{index}", tuple(range(9)), ordered=True) for index in range(4)))
    card = {"kind": "evolution", "population": 4, "sample": 40, "crossover": 0.0}
    driver = make_driver(toy_card(driver=card), space)
    driver.tell(Told(0, (0,) * 4, "measured", {"score": 1.0, "macs": 1.0}))
    for number in range(1, 6):
        driver.tell(Told(number, (number,) * 4, "measured", {"score": 0.1 * number, "macs": 100.0 - number}))
    driver.ask(0)
    assert space.started == [(5,) * 4], "the best of the last four"


def test_evolution_crosses_genes_of_two_winners() -> None:
    one, other = (0,) * 12, (1,) * 12
    child = cross(one, other, np.random.default_rng(0))
    assert set(child) == {0, 1} and len(child) == 12


def test_local_search_looks_at_neighbours_of_the_front_and_goes_on_from_where_all_are_known() -> None:
    space = Remembering("plain", tuple(Gene(f"gene{index}", tuple(range(9)), ordered=True) for index in range(3)))
    driver = make_driver(toy_card(driver={"kind": "local", "startup": 2}), space)
    best = (4, 4, 4)
    driver.tell(Told(0, best, "measured", {"score": 1.0, "macs": 1.0}))
    driver.tell(Told(1, (0, 0, 0), "measured", {"score": 0.5, "macs": 2.0}))
    near = []
    for number in range(2, 8):
        ask = driver.ask(number)
        near.append(ask.genome)
        driver.tell(Told(number, ask.genome, "measured", {"score": 0.1, "macs": 9.0}, {}, ask.state))
    assert sorted(near) == sorted(space.neighbours(best))
    assert driver.ask(8).genome not in {best, (0, 0, 0), *near}


def test_local_search_shares_its_trials_among_the_members_of_the_front() -> None:
    space = Remembering("plain", tuple(Gene(f"gene{index}", tuple(range(9)), ordered=True) for index in range(3)))
    driver = make_driver(toy_card(driver={"kind": "local", "startup": 3}), space)
    for number in range(3):
        driver.tell(Told(number, (4 * number,) * 3, "measured", {"score": 0.3 * number, "macs": 10.0 + number}))
    parents = []
    for number in range(3, 9):
        ask = driver.ask(number)
        parents.append(ask.state["parent"])
        driver.tell(Told(number, ask.genome, "failed", {}, {}, ask.state))
    assert sorted(parents) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("goals", [1, 2, 3])
def test_the_expected_gain_is_the_mean_of_what_luck_would_give(goals: int) -> None:
    """Second opinion: draw the guessed goal many times, and measure each hypervolume."""
    rng = np.random.default_rng(goals)
    front, corner = rng.random((6, goals)), np.full(goals, 0.9)
    means, deviation = rng.random((3, goals)), np.array([0.3, 0.05, 1e-12])
    expected = expected_gain(means, deviation, 0, front, corner)
    before = hypervolume(front, corner)
    for row, mean in enumerate(means):
        drawn = mean[0] + deviation[row] * ndtri((np.arange(400) + 0.5) / 400)
        after = [hypervolume([*front, (guess, *mean[1:])], corner) for guess in drawn]
        assert expected[row] == pytest.approx(np.mean(after) - before, rel=0.02, abs=1e-4)
    assert expected.max() > 0


def test_the_model_proposes_inside_the_limits_and_beats_random() -> None:
    """A score that grows with every gene, half as much as the cost does: the front is a line through the space."""
    genes = tuple(Gene(f"gene{index}", tuple(range(6)), ordered=True) for index in range(12))
    space, use, price = PlainSpace("plain", genes), np.linspace(0.1, 1, 12), np.linspace(1, 0.1, 12)

    def costs(genome: tuple[int, ...]) -> dict[str, float]:
        return {"macs": float(np.exp2(1 + price @ genome / 2))}

    volumes = {}
    for kind in ("random", "model"):
        changes = {"driver": {"kind": kind}, "limits": {"macs": 2000}, "reference": {"score": 0.0, "macs": 2000}}
        driver, points = make_driver(toy_card(**changes), space, costs), []
        for number in range(40):
            ask = driver.ask(seed_of_ask(1, number))
            values = {"score": float(use @ ask.genome / 33), **costs(ask.genome)}
            inside = values["macs"] <= 2000
            assert inside or kind == "random"
            excess = {"macs": values["macs"] / 2000 - 1}
            outcome: Any = "measured" if inside else "infeasible"
            driver.tell(Told(number, ask.genome, outcome, values if inside else {}, excess, ask.state))
            points.append((-values["score"], np.log10(values["macs"])))
        volumes[kind] = hypervolume(points, (0.0, np.log10(2000)))
    assert volumes["model"] > 1.3 * volumes["random"]


def test_the_model_goes_without_costs_and_with_others_at_work() -> None:
    driver = make_driver(toy_card(driver={"kind": "model", "startup": 5, "candidates": 20}), SPACE)
    told = []
    for number in range(12):
        ask = driver.ask(seed_of_ask(1, number))
        told.append(what_became(number, ask.genome, ask.state))
        driver.tell(told[-1] if number < 8 else Told(number, ask.genome, "pending", state=ask.state))
    assert len({one.genome for one in told}) == 12


@pytest.mark.slow
def test_gaussian_processes_of_optuna_go_on_after_a_rebuild_and_mind_limits() -> None:
    card = {"kind": "optuna", "sampler": "gp", "seed": 1, "startup": 5}
    told = run(card, 9)
    driver = new_driver(card)
    for one in told[:-1]:
        driver.tell(one)
    assert driver.ask(seed_of_ask(1, 8)).genome == told[8].genome


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        ({"kind": "genetic"}, ["there is no kind genetic", *DRIVERS]),
        (
            {"kind": "random", "population": 5},
            ["population is an option of evolution, optuna, nni", "random has kind, seed"],
        ),
        (
            {"kind": "model", "sampler": "tpe", "sample": 3},
            ["sampler is an option of optuna", "sample is an option of"],
        ),
        ({"kind": "optuna", "sampler": "cmaes"}, ["'tpe', 'nsga2', 'nsga3' or 'gp'", "cmaes"]),
        (
            {"kind": "optuna", "sampler": "gp"},
            ["3 goals and 500 trials at most", "has 2 and 501", "tpe, nsga2 and nsga3"],
        ),
    ],
)
def test_a_driver_that_is_not_there_or_cannot_do_it_is_answered_with_those_that_can(
    driver: dict[str, Any], words: list[str]
) -> None:
    card = {**toy_card().model_dump(mode="json"), "driver": driver, "trials": 501}
    with pytest.raises(UserError) as error:
        validate(StudyCard, card, "mine.yaml")
    assert all(word in str(error.value) for word in words), str(error.value)


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
