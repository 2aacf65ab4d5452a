"""Fronts and hypervolumes, each against a second opinion: a closed form, brute force, Monte Carlo, Optuna."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume

from hrnas.ledger import Evaluation, Identity, Trial
from hrnas.pareto import (
    contributions,
    front,
    history,
    hypervolume,
    measured,
    non_dominated,
    oriented,
    oriented_reference,
    ranks,
    reference_point,
)
from hrnas.reading import UserError

GOALS = {"score": "maximize", "macs": "minimize"}
small = st.integers(0, 4).map(float)  # small whole numbers, so that ties and duplicates are common


def points(goals: int) -> st.SearchStrategy[list[list[float]]]:
    return st.lists(st.lists(small, min_size=goals, max_size=goals), max_size=12)


def dominates(a: list[float], b: list[float]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


@settings(deadline=None)
@given(st.integers(1, 4).flatmap(points))
def test_the_front_is_what_nobody_beats_and_the_first_of_equals(values: list[list[float]]) -> None:
    expected = [
        not any(dominates(other, value) for other in values) and value not in values[:index]
        for index, value in enumerate(values)
    ]
    assert non_dominated(values).tolist() == expected


@settings(deadline=None)
@given(points(2))
def test_ranks_peel_front_after_front(values: list[list[float]]) -> None:
    rank = ranks(values)
    for index, value in enumerate(values):
        above = [rank[other] for other in range(len(values)) if dominates(values[other], value)]
        assert rank[index] == max(above, default=-1) + 1


def test_the_hypervolume_of_boxes_is_their_volume() -> None:
    assert hypervolume([[1, 2]], (3, 5)) == 2 * 3
    assert hypervolume([[1, 2], [2, 1]], (3, 3)) == 2 + 2 - 1
    assert hypervolume([[0, 0, 0]], (1, 2, 3)) == 6
    assert hypervolume([[0, 0, 1], [0, 1, 0], [1, 0, 0]], (2, 2, 2)) == 4 + 4 + 4 - 3 * 2 + 1
    assert hypervolume([[3, 0], [0, 3], [4, 4]], (3, 3)) == 0, "who does not beat the reference adds nothing"
    assert hypervolume([], (1, 1)) == 0


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 5).flatmap(points))
def test_the_hypervolume_equals_optunas(values: list[list[float]]) -> None:
    if values:
        corner = np.full(len(values[0]), 3.5)
        inside = np.array([value for value in values if max(value) < 3.5]).reshape(-1, len(corner))
        expected = compute_hypervolume(inside, corner) if len(inside) else 0.0
        assert hypervolume(values, corner) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("goals", [2, 3, 4])
def test_the_hypervolume_is_the_share_of_darts_that_hit(goals: int) -> None:
    rng = np.random.default_rng(goals)
    values, darts = rng.random((15, goals)), rng.random((100_000, goals))
    share = (values[None] <= darts[:, None]).all(axis=2).any(axis=1).mean()
    assert hypervolume(values, np.ones(goals)) == pytest.approx(share, abs=4 * math.sqrt(0.25 / len(darts)))


@settings(deadline=None)
@given(points(3))
def test_history_is_the_hypervolume_of_every_beginning(values: list[list[float]]) -> None:
    corner = (3.5, 3.5, 3.5)
    expected = [hypervolume(values[: n + 1], corner) for n in range(len(values))]
    assert history(values, corner) == pytest.approx(expected)
    assert expected == sorted(expected)


def test_a_contribution_is_what_is_lost_without_the_point() -> None:
    assert contributions([[0, 2], [1, 1], [2, 0], [2, 2]], (3, 3)).tolist() == [1, 1, 1, 0]
    assert contributions([[1, 1], [1, 1]], (3, 3)).tolist() == [0, 0], "of equals, none is missed"


# ---------------------------------------------------------------------------------------------------------------------
# trials


def trial(number: int, score: float, macs: float, **identity: Any) -> Trial:
    key = f"{number:012x}"
    who = Identity(key=key, fidelity="proxy", rung=0, input="128x96", data="drawn", recipe="quick", seed=1)
    evaluation = Evaluation(
        id=number,
        identity=replace(who, **identity),
        attempt=1,
        state="done",
        owner="me",
        heartbeat=0.0,
        scores={"score": score, "ap": score / 2},
        seconds=1.0,
        reason="",
        started=float(number),
        finished=float(100 - number),
    )
    return Trial(number, key, {}, (number,), {"macs": macs}, "driver", "", (evaluation,))


def test_the_front_of_a_study_is_in_the_order_of_its_trials() -> None:
    trials = [trial(0, 0.5, 300), trial(1, 0.4, 400), trial(2, 0.2, 100), trial(3, 0.5, 300)]
    assert [t.number for t in front(trials, GOALS)] == [0, 2]
    assert [t.number for t in front(trials, {"ap": "maximize"})] == [0]
    assert front([], GOALS) == []
    with pytest.raises(UserError, match="no value 'latency'; there are: ap, macs, score"):
        front(trials, {"latency": "minimize"})


@pytest.mark.parametrize("name", ["input", "data", "recipe"])
def test_a_front_never_mixes_ways_of_measuring(name: str) -> None:
    mixed = [trial(0, 0.5, 300), trial(1, 0.4, 200, **{name: "another"})]
    with pytest.raises(UserError, match=f"different {name}: "):
        front(mixed, GOALS)


def test_a_front_stands_on_one_rung_and_one_fidelity() -> None:
    climbed = trial(0, 0.5, 300)
    climbed = replace(climbed, evaluations=(*climbed.evaluations, *trial(0, 0.7, 300, rung=1).evaluations))
    trials = [climbed, trial(1, 0.6, 200)]
    assert [t.number for t, _ in measured(trials, "proxy")] == [0], "by default the highest rung"
    assert [t.number for t in front(trials, GOALS, rung=0)] == [1]
    assert front(trials, GOALS, fidelity="full") == []


def test_of_several_seeds_the_first_counts() -> None:
    lucky = trial(0, 0.9, 300, seed=2).evaluations[0]
    repeated = replace(trial(0, 0.5, 300), evaluations=(*trial(0, 0.5, 300).evaluations, replace(lucky, id=9)))
    assert measured([repeated], "proxy")[0][1].scores["score"] == 0.5


def test_history_of_a_study_is_in_score_times_decades() -> None:
    found = measured([trial(0, 0.5, 100), trial(1, 0.5, 10)], "proxy")
    corner = oriented_reference(GOALS, {"score": 0.0, "macs": 1000})
    assert history(oriented(found, GOALS), corner) == pytest.approx([0.5, 1.0])


def test_a_reference_that_the_card_leaves_out_is_the_limit_or_the_largest() -> None:
    trials = [trial(0, 0.5, 100), trial(1, 0.5, 400)]
    assert reference_point(GOALS, {"score": 0.1}, {}, trials) == {"score": 0.1, "macs": 400}
    assert reference_point(GOALS, {}, {"macs": 500}, trials) == {"score": 0, "macs": 500}
