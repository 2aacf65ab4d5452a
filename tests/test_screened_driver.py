"""A model before a driver: it keeps out of the way until it knows better, and then it does."""

from __future__ import annotations

import numpy as np
import pytest

from hrnas.bench.problems import PlainSpace
from hrnas.cards.study import StudyCard
from hrnas.pareto import hypervolume
from hrnas.reading import UserError, validate
from hrnas.search.drivers import Told, make_driver, seed_of_ask
from hrnas.search.drivers.model_driver import LEAST
from hrnas.search.drivers.screened_driver import SCREENED
from hrnas.space.genome import Gene, Genome

SPACE = PlainSpace("toy", tuple(Gene(name, tuple(range(8)), ordered=True) for name in "abcdef"))


def costs(genome: Genome) -> dict[str, float]:
    return {"macs": 10.0 ** (6 + sum(genome[:3]) / 12)}


def score(genome: Genome) -> float:
    """Grows with what costs, and with what is free."""
    return 0.1 + 0.01 * sum(genome[:3]) + 0.04 * (7 - abs(genome[3] - 5)) * genome[4] / 7


def card(**driver: object) -> StudyCard:
    tree = {"name": "toy", "space": "toy", "trainer": "none", "ladder": [{"epochs": 1}], "trials": 60, "driver": driver}
    return validate(StudyCard, {**tree, "reference": {"score": 0.0, "macs": 1e8}}, "toy")


def searched(driver: dict[str, object], trials: int, seed: int = 0) -> tuple[list[Told], object]:
    asked, told = make_driver(card(**driver), SPACE, costs), []
    for number in range(trials):
        ask = asked.ask(seed_of_ask(seed, number))
        values = {"score": score(ask.genome), **costs(ask.genome)}
        told.append(Told(number, ask.genome, "measured", values, state=ask.state))
        asked.tell(told[-1])
    return told, asked


def volume(told: list[Told]) -> float:
    return hypervolume([[-t.values["score"], np.log10(t.values["macs"])] for t in told], [0.0, 8.0])


def test_until_it_has_earned_it_the_driver_speaks_for_itself():
    plain, _ = searched({"kind": "random"}, LEAST)
    behind, _ = searched({"kind": "random", "predictor": True}, LEAST)
    assert [t.genome for t in plain] == [t.genome for t in behind]
    assert not any("predictor" in t.state for t in behind)


def test_then_it_lets_one_of_the_drivers_own_proposals_through():
    told, behind = searched({"kind": "random", "predictor": True}, 40)
    plain = make_driver(card(kind="random"), SPACE, costs)
    for each in told:
        plain.tell(each)
    ask = behind.ask(7)
    assert ask.genome in {plain.ask(seed_of_ask(7, turn)).genome for turn in range(SCREENED)}
    assert 0 < ask.state["predictor"]["of_costs"] < ask.state["predictor"]["tau"] <= 1


@pytest.mark.parametrize("kind", ["random", "evolution", "local"])
def test_it_is_a_function_of_what_it_was_told(kind: str):
    told, behind = searched({"kind": kind, "predictor": True}, 30)
    again = make_driver(card(kind=kind, predictor=True), SPACE, costs)
    for each in told:
        again.tell(each)
    assert again.ask(5) == behind.ask(5)


def test_what_can_be_learnt_is_searched_better():
    plain = [volume(searched({"kind": "random"}, 40, seed)[0]) for seed in range(5)]
    behind = [volume(searched({"kind": "random", "predictor": True}, 40, seed)[0]) for seed in range(5)]
    assert np.median(behind) > 1.05 * np.median(plain)


def test_the_model_needs_no_other_before_it():
    with pytest.raises(UserError, match="predictor is an option of random, .*model has"):
        card(kind="model", predictor=True)
