"""The ladder: what its rungs may be, who climbs, and that a rung goes on as if training had never paused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from toy_study import ToyEvaluator, run_toy, toy_card, toy_cost, toy_space
from workshop import SPACE

from hrnas.cards.study import Rung, StudyCard
from hrnas.cards.trainer import Recipe
from hrnas.ledger import Evaluation, Identity, Ledger, Trial
from hrnas.pareto import hypervolume, ranks
from hrnas.reading import UserError, validate
from hrnas.search.drivers import Ask, Told
from hrnas.search.ladder import (
    PROMOTIONS,
    crowding_order,
    epsilon_net_order,
    hypervolume_order,
    next_promotion,
    rank_trials,
)
from hrnas.space.architecture import Architecture
from hrnas.training.checkpoint import load_checkpoint
from hrnas.training.proxy import ProxyTrainer

ZERO, INHERITED = {"fidelity": "zero_cost"}, {"fidelity": "inherited"}


# ---------------------------------------------------------------------------------------------------------------------
# rungs


def card_of(*ladder: dict[str, Any], **changes: Any) -> StudyCard:
    tree = toy_card().model_dump(mode="json") | {"ladder": list(ladder)} | changes
    return validate(StudyCard, tree, "card")


def test_a_rung_that_names_only_epochs_is_a_proxy_and_is_written_as_it_always_was() -> None:
    card = card_of({"epochs": 1}, {"epochs": 3})
    assert card.model_dump(mode="json")["ladder"] == [{"fidelity": "proxy", "epochs": e} for e in (1, 3)]


def test_fidelities_climb_from_cheap_to_dear_and_epochs_belong_to_training() -> None:
    ladder = {"fidelity": "cost"}, ZERO, INHERITED, {"epochs": 2}, {"epochs": 6}
    card = card_of(*ladder, supernet={"trainer": "proxy_drawn"})
    assert [rung.fidelity for rung in card.ladder] == ["cost", "zero_cost", "inherited", "proxy", "proxy"]
    assert [card.epochs_added(rung) for rung in range(5)] == [0, 0, 0, 2, 4]
    assert (card.ladder[0].measure, card.ladder[1].measure) == ("params", "naswot")
    assert validate(StudyCard, card.model_dump(mode="json"), "again") == card


@pytest.mark.parametrize(
    ("ladder", "says"),
    [
        ([{"fidelity": "proxy"}], r"ladder\[0\].*it needs epochs, such as epochs: 3"),
        ([{}], "it needs epochs"),
        ([ZERO | {"epochs": 1}], "a rung of fidelity zero_cost does not train: leave epochs out"),
        ([{"epochs": 1}, ZERO], "expected cost before zero_cost before inherited before proxy.*got proxy, zero_cost"),
        ([ZERO, ZERO, {"epochs": 1}], "only proxy more than once; got zero_cost, zero_cost, proxy"),
        ([ZERO, {"epochs": 3}, {"epochs": 3}], r"train longer than the one before, got epochs \[3, 3\]"),
        ([ZERO | {"by": "luck"}], "by: no measure 'luck'; there are: naswot, synflow, "),
        ([{"epochs": 1, "by": "naswot"}], "by: no measure 'naswot'; a rung of fidelity proxy has none"),
        ([{"fidelity": "full", "epochs": 1}], "ladder.*fidelity"),
    ],
)
def test_a_rung_that_cannot_be_is_refused_with_what_would_do(ladder: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(UserError, match=says):
        card_of(*ladder)


def test_ap_is_no_goal_where_a_rung_does_not_know_it() -> None:
    with pytest.raises(UserError, match="ap is not known on rungs of fidelity cost or zero_cost; use score"):
        card_of(ZERO, {"epochs": 1}, goals={"ap": "maximize", "macs": "minimize"}, reference={})


@pytest.mark.parametrize(("score", "fine"), [(-812.5, True), (float("nan"), False), (None, False)])
def test_a_score_without_training_may_be_any_finite_number(tmp_path: Path, score: Any, fine: bool) -> None:
    evaluators = {"zero_cost": lambda *anything: {"score": score}}
    card = card_of(ZERO, trials=1)
    assert run_toy(tmp_path, card, evaluators=evaluators).complete == fine
    found = Ledger.open(tmp_path / "ledger.sqlite").evaluations("done" if fine else "failed")
    assert found and all(e.identity.fidelity == "zero_cost" for e in found)


# ---------------------------------------------------------------------------------------------------------------------
# who climbs


def trials_of(points: Sequence[tuple[float, float]], fidelity: str = "proxy") -> list[Trial]:
    """Trials with (score, macs), measured on the first rung."""
    return [
        Trial(number, str(number), {}, (number,), {"macs": macs}, "driver", "", (done(number, 0, score, fidelity),))
        for number, (score, macs) in enumerate(points)
    ]


def done(number: int, rung: int, score: float, fidelity: str = "proxy") -> Evaluation:
    who = Identity(str(number), fidelity, rung, "64x64", "drawn", "quick", 1)
    return Evaluation(number, who, 1, "done", "", 0.0, {"score": score, "ap": 0.0}, 1.0, "", 0.0, 0.0)


def order_of(points: Sequence[tuple[float, float]], **changes: Any) -> list[int]:
    card = card_of({"epochs": 1}, {"epochs": 3}, reference={"macs": 1e8}, **changes)
    return [trial.number for trial in rank_trials([(t, t.evaluations[0]) for t in trials_of(points)], card)]


def climb_all(points: Sequence[tuple[float, float]], card: StudyCard) -> list[tuple[int, int]]:
    """Every promotion (trial, rung), each as soon as it is due; scores stay as they were."""
    trials: list[Trial] = []
    climbed = []
    for trial in trials_of(points):
        trials.append(trial)
        while job := next_promotion(trials, card, seed=1):
            number, rung = job[0].number, job[1]
            climbed.append((number, rung))
            known = trials[number].evaluations
            trials[number] = replace(trials[number], evaluations=(*known, done(number, rung, known[0].scores["score"])))
    return climbed


RANDOM = [(float(s), float(10**c)) for s, c in np.random.default_rng(3).uniform((0, 6), (0.5, 8), size=(24, 2))]


@pytest.mark.parametrize("goals", [2, 3])
def test_each_next_one_adds_the_most_hypervolume_to_those_before(goals: int) -> None:
    values = np.random.default_rng(goals).uniform(size=(60, goals))
    front = values[ranks(values) == 0]
    front = front[np.argsort(front[:, 0])]
    corner = np.full(goals, 0.9)
    order = list(hypervolume_order(front, corner))
    assert sorted(order) == list(range(len(front)))
    for place in range(len(front)):
        adds = [hypervolume(front[[*order[:place], other]], corner.tolist()) for other in order[place:]]
        assert adds[0] == pytest.approx(max(adds), abs=1e-12)


def test_the_rules_order_a_front_as_worked_out_by_hand() -> None:
    front = np.array([[0.0, 1.0], [0.1, 0.5], [0.2, 0.4], [1.0, 0.0]])
    # boxes of 2.0, 2.85, 2.88 and 2.0; beside the third (.2)(1), (.1)(1.5) and (1)(.4); last .2 against .15
    assert list(hypervolume_order(front, np.array([2.0, 2.0]))) == [2, 3, 0, 1]
    # the ends have no second neighbour; then (.2 + .6) of the second point against (.9 + .5) of the third
    assert list(crowding_order(front, np.zeros(2))) == [0, 3, 2, 1]
    # from (0, 1) the farthest is (1, 0); then .51 of the second point against .63 of the third
    assert list(epsilon_net_order(front, np.zeros(2))) == [0, 3, 2, 1]


def test_ranks_of_two_goals_are_those_of_peeling_fronts() -> None:
    values = np.random.default_rng(5).integers(0, 12, size=(200, 2)).astype(float)  # with many ties
    peeled, left, level = np.empty(200, dtype=int), np.arange(200), 0
    while len(left):
        beaten = [any((values[b] <= values[a]).all() and (values[b] < values[a]).any() for b in left) for a in left]
        peeled[left[~np.array(beaten)]] = level
        left, level = left[np.array(beaten)], level + 1
    assert (ranks(values) == peeled).all()


def test_the_smallest_network_does_not_climb_for_its_size_alone() -> None:
    tiny, good, better, poor = (0.001, 1e6), (0.4, 1e7), (0.5, 3e7), (0.1, 5e7)
    assert order_of([tiny, good, better, poor]) == [1, 2, 0, 3]
    assert order_of([tiny, good, better, poor], promotion="crowding")[:2] == [2, 0], "as the paper's rule does"
    for rule in PROMOTIONS:
        assert order_of([tiny, good, better, poor], promotion=rule, floor=0.01)[-1] == 0


def test_a_reference_for_trained_networks_does_not_make_all_of_a_low_rung_worthless() -> None:
    points = [(0.05, 1e6), (0.04, 9e5), (0.1, 5e7), (0.09, 2e6)]
    assert order_of(points, goals={"score": "maximize", "macs": "minimize"}) == order_of(points)
    high = card_of({"epochs": 1}, {"epochs": 3}, reference={"score": 0.5, "macs": 1e8})
    found = [(trial, trial.evaluations[0]) for trial in trials_of(points)]
    assert [trial.number for trial in rank_trials(found, high)] == order_of(points)


def test_where_scores_have_no_zero_only_their_differences_count() -> None:
    card = card_of(ZERO, {"epochs": 1}, reference={"macs": 1e8})

    def order(shift: float) -> list[int]:
        moved = trials_of([(score + shift, macs) for score, macs in RANDOM], "zero_cost")
        return [trial.number for trial in rank_trials([(trial, trial.evaluations[0]) for trial in moved], card)]

    assert order(-800.0) == order(0.0) == order(800.0)


@pytest.mark.parametrize("promotion", PROMOTIONS)
def test_only_a_share_climbs_the_best_of_it_at_the_end_and_nobody_before_enough_are_measured(promotion: str) -> None:
    ladder = {"epochs": 1}, {"epochs": 3}, {"epochs": 9}
    card = card_of(*ladder, trials=24, keep=1 / 3, wait=1, promotion=promotion, reference={"macs": 1e8})
    climbed = climb_all(RANDOM, card)
    assert [rung for _, rung in climbed] == [1] * 8 + [2] * 2
    assert [number for number, rung in climbed if rung == 1] == order_of(RANDOM, promotion=promotion)[:8]
    assert climb_all(RANDOM[:23], card) == []
    assert next_promotion(trials_of(RANDOM[:23]), card, seed=1, closing=True) is not None
    eager = climb_all(RANDOM, card.with_changes(wait=0.0))
    assert {number for number, _ in eager} >= {number for number, _ in climbed}
    assert len(eager) == len(set(eager)) and eager[0][0] <= 2, "the best of the first three"


def test_what_is_under_way_or_of_another_seed_is_not_promoted_again() -> None:
    card = card_of({"epochs": 1}, {"epochs": 3}, trials=3, keep=1 / 3, wait=0, reference={"macs": 1e8})
    trials = trials_of([(0.1, 1e6), (0.3, 1e6), (0.2, 1e6)])
    job = next_promotion(trials, card, seed=1)
    assert job is not None and job[0].number == 1 and job[1] == 1
    running = replace(done(1, 1, 0.0), state="running")
    trials[1] = replace(trials[1], evaluations=(*trials[1].evaluations, running))
    assert next_promotion(trials, card, seed=1) is None and next_promotion(trials, card, seed=2) is None


def test_a_study_climbs_from_zero_cost_to_training_and_its_driver_hears_of_training_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: dict[int, Told] = {}

    class Listener:
        def tell(self, told: Told) -> None:
            heard[told.number] = told

        def ask(self, seed: int) -> Ask:
            return Ask(toy_space().sample(np.random.default_rng(seed)))

    monkeypatch.setattr("hrnas.search.study.make_driver", lambda *anything: Listener())
    evaluators = {"zero_cost": lambda architecture, *more: {"score": -1e6 / toy_cost(architecture)["macs"]}}
    card = card_of(ZERO, {"epochs": 1}, {"epochs": 2}, trials=12, keep=0.5, wait=1)
    assert run_toy(tmp_path, card, evaluators={**evaluators, "proxy": ToyEvaluator()}).complete
    trials = Ledger.open(tmp_path / "ledger.sqlite").trials()
    reached = [[e.identity.fidelity for e in trial.evaluations] for trial in trials]
    assert reached.count(["zero_cost"]) == 6 and ["zero_cost", "proxy", "proxy"] in reached
    assert {told.outcome for told in heard.values()} <= {"measured", "pending"}
    assert all(0 <= told.values["score"] <= 1 for told in heard.values() if told.outcome == "measured")


def test_where_no_more_trials_come_nobody_waits_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrnas.search.study.PATIENCE", 10)
    eight = toy_space(**{"widths[0]": {"from": 16, "to": 44, "step": 4}})
    result = run_toy(tmp_path, card_of({"epochs": 1}, {"epochs": 2}, trials=20, wait=1), space=eight)
    assert result.done == 8 and "exhausted" in result.reason
    climbed = [trial for trial in Ledger.open(tmp_path / "ledger.sqlite").trials() if len(trial.evaluations) == 2]
    assert len(climbed) == 2, "a third of eight"


# ---------------------------------------------------------------------------------------------------------------------
# training on


def recipe(schedule: dict[str, Any]) -> Recipe:
    tree = {
        "name": "tiny",
        "data": {"kind": "drawn", "train": 16, "holdout": 8, "val": 10, "seed": 0},
        "input": "64x64",
        "epochs": 3,
        "batch_size": 8,
        "loss": {"kind": "cross_entropy"},
        "optimiser": {"rate": 3e-3},
        "schedule": schedule,
        "ema": 0.9,
        "flip_test": False,
        "cache": True,
    }
    return Recipe.model_validate(tree)


def climb(folder: Path, card: Recipe, epochs: list[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The scores and the checkpoint of the highest of some rungs."""
    ladder = [Rung(epochs=count) for count in epochs]
    architecture = Architecture.from_tree(yaml.safe_load(SPACE)["base"])
    for rung in ladder:
        scores = ProxyTrainer(card, ladder)(architecture, rung, 3, folder, lambda progress: None)
    return dict(scores), load_checkpoint(folder / "training-seed3.pt")


@pytest.mark.parametrize("kind", ["constant", "cosine"])
def test_only_at_a_constant_rate_a_rung_goes_on_as_if_training_had_never_paused(kind: str, tmp_path: Path) -> None:
    card = recipe({"kind": kind, "warmup_steps": 3})
    paused, state = climb(tmp_path / "paused", card, [1, 2, 3])
    whole, expected = climb(tmp_path / "whole", card, [3])
    same = [torch.equal(state["net"][name], expected["net"][name]) for name in expected["net"]]
    assert (paused == whole) == all(same) == (kind == "constant")
