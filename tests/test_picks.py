"""Picks of a front: knees, an even cover, the best within budgets; against closed forms and every choice there is."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnas.picks import best_within, even_budgets, knee_distances, knees, spread

coordinates = st.floats(-1e3, 1e3, allow_subnormal=False)
fronts = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=9).map(np.array)


def test_the_knee_of_a_quarter_circle_is_at_45_degrees() -> None:
    """Around (1, 1): the point (1 - r cos t, 1 - r sin t) is (cos t + sin t - 1) / sqrt 2 before the chord."""
    angles = np.linspace(0, math.pi / 2, 91)
    circle = np.column_stack([1 - np.cos(angles), 1 - np.sin(angles)])
    assert np.allclose(knee_distances(circle), (np.cos(angles) + np.sin(angles) - 1) / math.sqrt(2))
    assert knees(circle, 1) == [45] and sorted(knees(circle, 3)) == [44, 45, 46]


def test_the_knee_of_a_hyperbola_is_where_its_slope_is_the_chords() -> None:
    """y = 1 / x from x = 1 / 4 to 4, in other units: the slope is the chord's, -1, at x = 1."""
    x = np.array([0.25, 0.5, 1.0, 2.0, 4.0])
    front = np.column_stack([100 * x - 7, 3 / x + 50])
    assert knees(front, 1) == [2]
    assert knee_distances(front)[2] == pytest.approx((1 - 2 * 0.75 / 3.75) / math.sqrt(2))


def test_a_member_behind_the_chord_is_the_last_to_be_a_knee() -> None:
    front = [[0.0, 1.0], [0.1, 0.3], [0.6, 0.5], [1.0, 0.0]]
    assert knee_distances(front)[2] == pytest.approx((1 - 0.6 - 0.5) / math.sqrt(2))
    assert knees(front, 4) == [1, 0, 3, 2]


def test_three_goals_have_a_plane_instead_of_a_chord() -> None:
    front = [[0, 1, 1], [1, 0, 1], [1, 1, 0], [0.2, 0.2, 0.2]]
    normal = np.ones(3) / math.sqrt(3)
    plane = np.array([1, 0, 0]) @ normal  # through the three unit points
    assert knee_distances(front)[3] == pytest.approx(plane - np.array([0.2, 0.2, 0.2]) @ normal)
    assert knees(front, 1) == [3]


@given(fronts, st.integers(1, 9), st.floats(0.1, 10), coordinates)
def test_picks_mind_neither_units_nor_how_many_are_asked_for(
    front: np.ndarray, count: int, unit: float, origin: float
) -> None:
    for pick in (knees, spread):
        picked = pick(front, count)
        assert len(picked) == len(set(picked)) == min(count, len(front))
        assert picked == pick(front, len(front))[:count]
    moved = front * [unit, 1] + [origin, 0]
    # what a computer rounds may swap members that are equally far, so that the distances are compared
    if np.ptp(front, axis=0).min() > 1:
        assert np.allclose(knee_distances(moved), knee_distances(front), atol=1e-6)


@given(fronts, st.integers(2, 9))
def test_a_spread_keeps_its_picks_at_least_half_as_far_apart_as_any_choice(front: np.ndarray, count: int) -> None:
    count = min(count, len(front))
    span = np.ptp(front, axis=0)
    shares = (front - front.min(axis=0)) / np.where(span > 0, span, 1)

    def closest(members: tuple[int, ...] | list[int]) -> float:
        return min((math.dist(shares[a], shares[b]) for a, b in combinations(members, 2)), default=math.inf)

    best = max(map(closest, combinations(range(len(front)), count)))
    assert closest(spread(front, count)) >= best / 2 - 1e-9 or math.isinf(best)


def test_a_spread_of_a_line_begins_with_its_ends_and_halves_what_is_left() -> None:
    line = np.column_stack([np.arange(9.0), 8 - np.arange(9.0)])
    assert spread(line, 3) == [0, 8, 4]
    assert set(spread(line, 5)) == {0, 2, 4, 6, 8}
    assert set(spread(np.zeros((4, 2)), 4)) == {0, 1, 2, 3}


def test_even_budgets_have_one_ratio_and_end_at_the_dearest() -> None:
    assert even_budgets([1e6, 5e6, 1e9], 3) == pytest.approx([1e7, 1e8, 1e9])
    assert even_budgets([3.0, 7.0], 1) == [7.0] and even_budgets([4.0], 2) == pytest.approx([4.0, 4.0])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), max_size=8), st.integers(0, 6))
def test_the_best_within_a_budget_is_beaten_by_nobody_there(members: list[tuple[int, int]], budget: int) -> None:
    scores, costs = [score for score, _ in members], [cost for _, cost in members]
    found = best_within(scores, costs, budget)
    if found is None:
        assert all(cost > budget for cost in costs)
        return
    assert costs[found] <= budget
    for index, (score, cost) in enumerate(members):
        if cost <= budget and index != found:
            assert (-scores[found], costs[found], found) < (-score, cost, index)
