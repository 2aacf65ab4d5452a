"""A study from its card to its last trial: what is trained, what is not, when it stops, and that it can go on."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from toy_study import ToyEvaluator, run_toy, toy_card, toy_cost, toy_recipe, toy_space

from hrnas.cards.study import StudyCard
from hrnas.cards.trainer import DrawnData
from hrnas.ledger import Ledger
from hrnas.pareto import front
from hrnas.reading import UserError, read_yaml, validate
from hrnas.search import limits as limits_module
from hrnas.search import study as study_module
from hrnas.search import worker as worker_module
from hrnas.search.drivers import Ask
from hrnas.search.ladder import next_promotion, rank_trials
from hrnas.search.repeat import repeat_trial
from hrnas.search.study import Event
from hrnas.search.worker import is_alive, this_owner
from hrnas.space.search_space import SpaceCard, space_from_card

NSGA = {"kind": "optuna", "sampler": "nsga2", "seed": 1, "population": 6}
TPE = {"kind": "optuna", "sampler": "tpe", "seed": 1}
ONE_GENE = {"widths[0]": {"from": 16, "to": 44, "step": 4}}  # eight networks
HUGE = ONE_GENE | {
    f"stages[{stage}].{what}": {"from": 1, "to": 16} for stage in range(3) for what in ("modules", "blocks")
}


def ledger_of(folder: Path) -> Ledger:
    return Ledger.open(folder / "ledger.sqlite")


def history_of(folder: Path) -> list[tuple[Any, ...]]:
    """Everything that must be the same in two runs of the same card: no times, no owners."""
    ledger = ledger_of(folder)
    proposals = [(p.number, p.genome, p.key, p.origin, p.outcome, p.state) for p in ledger.proposals()]
    trials = [(t.number, t.key, [(e.identity, e.state, e.scores) for e in t.evaluations]) for t in ledger.trials()]
    return [*proposals, *trials]


def test_a_study_ends_with_the_cards_number_of_trials(tmp_path: Path) -> None:
    evaluator = ToyEvaluator()
    result = run_toy(tmp_path, toy_card(trials=12), evaluator)
    assert (result.complete, result.done, result.total, result.reason) == (True, 12, 12, "")
    trials = ledger_of(tmp_path).trials()
    assert [trial.number for trial in trials] == list(range(12))
    assert len({trial.key for trial in trials}) == 12
    assert Counter(key for key, _, _ in evaluator.calls) == Counter({trial.key: 1 for trial in trials})
    assert all(trial.final is not None and trial.final.scores["score"] > 0 for trial in trials)


def test_the_run_folder_tells_the_study_again(tmp_path: Path) -> None:
    run_toy(tmp_path, toy_card(trials=2), environment={"host": "here"})
    assert read_yaml(tmp_path / "study.yaml") == toy_card(trials=2).model_dump(mode="json")
    assert json.loads((tmp_path / "environment.json").read_text()) == {"host": "here"}
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {t.key for t in ledger_of(tmp_path).trials()}
    assert ledger_of(tmp_path).study().resolved["recipe"]["batch_size"] == 8


def test_duplicates_and_infeasible_proposals_are_recorded_and_never_trained(tmp_path: Path) -> None:
    evaluator = ToyEvaluator()
    card = toy_card(trials=25, driver=NSGA, limits={"macs": 350_000}, limits_by="driver")
    result = run_toy(tmp_path, card, evaluator)
    ledger = ledger_of(tmp_path)
    outcomes = Counter(proposal.outcome for proposal in ledger.proposals())
    assert outcomes["new"] == len(evaluator.calls) == result.done == 25
    refused = sum(sum(proposal.refused.values()) for proposal in ledger.proposals())
    assert (outcomes["duplicate"], refused) == (result.duplicates, result.infeasible)
    assert result.duplicates > 0 and outcomes["infeasible"] > 0
    assert all(trial.costs["macs"] <= 350_000 for trial in ledger.trials())
    counted = [p.key for p in ledger.proposals() if p.outcome != "duplicate"]
    assert len(counted) == len(set(counted)), "known means duplicate, also when it is known to be infeasible"


def test_costs_are_counted_once_for_each_architecture(tmp_path: Path) -> None:
    counted: list[str] = []

    def count(architecture: Any) -> dict[str, float]:
        counted.append(architecture.key)
        return toy_cost(architecture)

    run_toy(tmp_path, toy_card(trials=20, driver=NSGA), count_cost=count)
    assert len(counted) == len(set(counted))


def test_the_same_card_gives_the_same_trials_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        run_toy(tmp_path / name, toy_card(driver={**TPE, "seed": seed}))
    assert history_of(tmp_path / "one") == history_of(tmp_path / "two")
    assert history_of(tmp_path / "one") != history_of(tmp_path / "three")


class Interrupted(BaseException):
    """What Ctrl-C is."""


@pytest.mark.parametrize(
    ("driver", "epochs"),
    [({"kind": "random", "seed": 5}, [1]), (NSGA, [1, 3]), (TPE, [1])],
    ids=["random", "nsga2 on two rungs", "tpe"],
)
def test_interrupted_and_resumed_is_as_if_nothing_had_happened(
    tmp_path: Path, driver: dict[str, Any], epochs: list[int]
) -> None:
    ladder = [{"epochs": count} for count in epochs]
    card = toy_card(trials=15, driver=driver, ladder=ladder, limits={"macs": 350_000})
    run_toy(tmp_path / "whole", card)
    for stop in (1, 2, 7):
        calls = iter(range(stop))

        def hook(key: str, epochs: int, calls: Any = calls) -> None:
            if next(calls, None) is None:
                raise Interrupted

        with pytest.raises(Interrupted):
            run_toy(tmp_path / "broken", card, ToyEvaluator(hook=hook))
        assert not ledger_of(tmp_path / "broken").evaluations("running"), "the claim was given back"
    result = run_toy(tmp_path / "broken", card)
    assert result.complete and history_of(tmp_path / "broken") == history_of(tmp_path / "whole")


def test_a_finished_study_asks_for_nothing_more(tmp_path: Path) -> None:
    run_toy(tmp_path)
    before = history_of(tmp_path)
    evaluator = ToyEvaluator()
    assert run_toy(tmp_path, evaluator=evaluator).complete
    assert evaluator.calls == [] and history_of(tmp_path) == before


def test_another_card_of_the_same_name_changes_nothing(tmp_path: Path) -> None:
    run_toy(tmp_path, toy_card(trials=2))
    before = (tmp_path / "study.yaml").read_bytes(), history_of(tmp_path)
    with pytest.raises(UserError, match=r"trials: was 2, now 3"):
        run_toy(tmp_path, toy_card(trials=3))
    with pytest.raises(UserError, match=r"recipe\.batch_size: was 8, now 16"):
        run_toy(tmp_path, toy_card(trials=2), recipe=toy_recipe().with_changes(batch_size=16))
    with pytest.raises(UserError, match=r"choices\.stages\[2\]\.blocks: was \[1, 2, 3\], now absent"):
        run_toy(tmp_path, toy_card(trials=2), space=toy_space(**ONE_GENE))
    assert before == ((tmp_path / "study.yaml").read_bytes(), history_of(tmp_path))


NAIVE, WIDE = "published/naive_lite_hrnet_18", "published/wider_naive_lite_hrnet_18"
WIDTHS, BLOCKS = {"widths[0]": {"from": 16, "to": 44, "step": 4}}, {"stages[2].blocks": {"ordered": [1, 2, 3]}}


@pytest.mark.parametrize(
    ("base", "choices", "says"),
    [
        (WIDE, WIDTHS | BLOCKS, r"base\.widths: was \[30, 60, 120, 240\], now \[40, 80, 160, 320\]"),
        (NAIVE, WIDTHS | {"stages[2].blocks": [1, 2, 3]}, r"ordered choices: was .*blocks'\], now \['widths\[0\]'\]"),
        (
            NAIVE,
            WIDTHS | {"stages[2].blocks": {"ordered": [1, 2, 3], "when": {"widths[0]": 16}}},
            r"conditions\.stages\[2\]\.blocks: was absent, now \{'widths\[0\]': \[16\]\}",
        ),
        (NAIVE, BLOCKS | WIDTHS, r"choices: the order was widths\[0\], stages\[2\]\.blocks, now stages\[2\]\.blocks"),
    ],
    ids=["base", "ordered", "when", "order"],
)
def test_another_space_of_the_same_name_is_refused(tmp_path: Path, base: str, choices: Any, says: str) -> None:
    def space_of(base: str, choices: Any) -> Any:
        return space_from_card(SpaceCard.model_validate({"name": "toy", "base": base, "choices": choices}))

    run_toy(tmp_path, toy_card(trials=1), space=space_of(NAIVE, WIDTHS | BLOCKS))
    with pytest.raises(UserError, match=says):
        run_toy(tmp_path, toy_card(trials=1), space=space_of(base, choices))
    assert run_toy(tmp_path, toy_card(trials=1), space=space_of(NAIVE, WIDTHS | BLOCKS)).complete


@pytest.mark.parametrize(
    ("name", "limit", "read"),
    [
        ("macs", "<= 250M", 250_000_000),
        ("params", "3M", None),
        ("params", 3000, 3000),
        ("params", "<= 0.5", None),
        ("lite_scale", "<= 250", 250.0),
        ("lite_scale", "<= 250M", None),
        ("conv_gi", "<= 0.5", 0.5),
        ("all_ops_gi", "<= 1G", None),
        ("all_ops", 1.5, 1.5),
        ("all_ops", "<= 0", None),
        ("latency", "<= 5", None),
    ],
)
def test_a_limit_is_in_the_unit_of_its_cost(name: str, limit: object, read: float | None) -> None:
    if read is None:
        with pytest.raises(UserError, match=f"card: limits: {name}: .*expected|there is no such cost"):
            validate(StudyCard, PLAIN | {"limits": {name: limit}}, "card")
        return
    card = validate(StudyCard, PLAIN | {"limits": {name: limit}}, "card")
    assert card.limits == {name: read} and card.with_changes(trials=3).limits == card.limits


def test_a_reference_is_in_the_unit_of_its_goal() -> None:
    goals = {"score": "maximize", "macs": "minimize", "lite_scale": "minimize"}
    card = validate(
        StudyCard, PLAIN | {"goals": goals, "reference": {"score": 0.1, "macs": "300M", "lite_scale": 300}}, "card"
    )
    assert card.reference == {"score": 0.1, "macs": 3e8, "lite_scale": 300.0}
    wrong = {"score": "1K", "macs": "many", "lite_scale": "300M"}
    with pytest.raises(
        UserError, match=r"score has no unit .*; macs: expected a number .*; .*in M \(2\^20\) \(got .300M"
    ):
        validate(StudyCard, PLAIN | {"goals": goals, "reference": wrong}, "card")


@pytest.mark.parametrize("goals", ["macs", ["macs"], {"macs": None}, {"score": "maximize", "macs": None}])
def test_a_goal_without_a_direction_is_given_one_to_write(goals: object) -> None:
    with pytest.raises(UserError, match=r"card: goals: a goal needs its direction: \{macs: minimize\}"):
        validate(StudyCard, PLAIN | {"goals": goals}, "card")


def test_a_study_does_not_go_on_with_other_goals_or_limits(tmp_path: Path) -> None:
    run_toy(tmp_path, toy_card(trials=1, limits={"macs": 400_000}))
    changed = toy_card(
        trials=1, limits={"macs": 300_000}, goals={"score": "maximize", "params": "minimize"}, reference={}
    )
    with pytest.raises(
        UserError, match=r"(?s)goals\.macs: was minimize, now absent.*limits\.macs: was 400000, now 300000"
    ):
        run_toy(tmp_path, changed)


PLAIN = {"name": "plain", "space": "toy", "trainer": "toy", "ladder": [{"epochs": 1}], "trials": 2}


# ---------------------------------------------------------------------------------------------------------------------
# published points


def test_published_points_come_first_and_keep_their_names(tmp_path: Path) -> None:
    space = toy_space()
    points = [("small", space.decode((0, 0, 0, 0, 0, 0))), ("large", space.decode((7, 1, 1, 1, 0, 2)))]
    limits = {"macs": toy_cost(points[1][1])["macs"] - 1}
    run_toy(tmp_path, toy_card(trials=5, published="first", limits=limits, driver=NSGA), published=points)
    ledger = ledger_of(tmp_path)
    assert [(p.origin, p.outcome) for p in ledger.proposals()][:2] == [
        ("published", "new"),
        ("published", "infeasible"),
    ]
    assert [(t.origin, t.title) for t in ledger.trials()] == [("published", "small")] + [("driver", "")] * 4


def test_the_shelfs_points_in_the_space_are_found(tmp_path: Path) -> None:
    space = toy_space(**{"stages[all].row.kind": ["shuffle", "residual"]})  # naive_lite_hrnet_18 and one other
    first = toy_card(trials=1, published="first")
    assert [name for name, _ in study_module.published_points(first, space)] == ["naive_lite_hrnet_18"]
    assert study_module.published_points(toy_card(trials=1, published="none"), space) == []
    named = toy_card(trials=1, published=["naive_lite_hrnet_18"])
    assert [name for name, _ in study_module.published_points(named, space)] == ["naive_lite_hrnet_18"]
    outside = toy_card(trials=1, published=["lite_hrnet_18"])
    with pytest.raises(UserError, match="published: lite_hrnet_18 does not lie in the space: .*row"):
        study_module.published_points(outside, space)
    run_toy(tmp_path, toy_card(trials=1, published="first"), space=space)
    assert ledger_of(tmp_path).trials()[0].title == "naive_lite_hrnet_18"


# ---------------------------------------------------------------------------------------------------------------------
# when it stops


def test_an_exhausted_space_ends_the_study_with_a_reason(tmp_path: Path) -> None:
    result = run_toy(tmp_path, toy_card(trials=20, driver=TPE), space=toy_space(**ONE_GENE))
    assert not result.complete and result.done == 8
    assert "the space toy is exhausted: of its 8 architectures 8 are inside the limits" in result.reason


def test_a_driver_that_only_repeats_itself_is_helped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "PATIENCE", 10)

    class Stubborn:
        def tell(self, told: Any) -> None: ...
        def ask(self, seed: int) -> Any:
            return Ask((0, 0, 0, 0, 0, 0))

    monkeypatch.setattr(study_module, "make_driver", lambda *anything: Stubborn())
    assert run_toy(tmp_path, toy_card(trials=4)).complete
    origins = [p.origin for p in ledger_of(tmp_path).proposals()]
    assert origins.count("random") == 3 and origins[:11] == ["driver"] * 11


@pytest.mark.parametrize("genes", [{}, HUGE], ids=["a space that can be walked", "one that cannot"])
def test_limits_that_nothing_meets_end_the_study_with_the_nearest_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, genes: Any
) -> None:
    monkeypatch.setattr(limits_module, "DRAWS", 30)
    space = toy_space(**genes)
    result = run_toy(tmp_path, toy_card(trials=5, limits={"macs": 10_000}), space=space)
    assert not result.complete and result.done == 0
    assert "0 (0.0%) are inside; the nearest is" in result.reason
    smallest = toy_cost(space.decode((0,) * len(space.genes)))["macs"]
    assert f"macs {smallest:,.0f} > 10,000: raise the limits" in result.reason
    assert ledger_of(tmp_path).proposals() == [], "said at once, before anything is asked for"
    assert run_toy(tmp_path, toy_card(trials=5, limits={"macs": 10_000}), space=space) == result, "and again, at once"


@pytest.mark.parametrize("by", ["repair", "driver"])
def test_limits_that_little_meets_end_with_the_acceptance_and_what_is_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr(study_module, "PATIENCE", 10)
    monkeypatch.setattr(study_module, "DRAWS", 30)
    card = toy_card(trials=5, limits={"macs": 49_000}, limits_by=by)  # the smallest network has 48,000
    result = run_toy(tmp_path, card, space=toy_space(**HUGE))
    ledger = ledger_of(tmp_path)
    assert not result.complete and 0 < result.done < 5
    asked = [p for p in ledger.proposals() if p.origin != "repaired"]
    refused = sum(sum(p.refused.values()) for p in ledger.proposals())
    inside = sum(p.outcome != "infeasible" for p in asked)
    share = f"{inside} of {inside + refused} networks that were asked for or drawn ({inside / (inside + refused):.1%})"
    assert refused == result.infeasible and share in result.reason
    last = ledger.proposals()[-1]
    assert last.outcome == "infeasible" and last.refused == {"macs": 30}, "thirty refusals are one line"
    assert f"the nearest of those outside is {last.key} with macs {last.costs['macs']:,} > 49,000" in result.reason
    assert f"inside, and nearest to the limits, are {ledger.trials()[0].key}" in result.reason
    assert run_toy(tmp_path, card, space=toy_space(**HUGE)) == result, "and again, at once"


def test_a_failure_is_recorded_with_its_reason_and_does_not_count(tmp_path: Path) -> None:
    broken: list[str] = []

    def hook(key: str, epochs: int) -> None:
        if len(broken) < 2:
            broken.append(key)
            raise RuntimeError("the loss is nan in epoch 1, step 3")

    events: list[Event] = []
    result = run_toy(tmp_path, toy_card(trials=4), ToyEvaluator(hook=hook), on_event=events.append)
    assert (result.complete, result.done, result.failed) == (True, 4, 2)
    failed = ledger_of(tmp_path).evaluations("failed")
    assert [e.identity.key for e in failed] == broken
    assert {e.reason for e in failed} == {"RuntimeError: the loss is nan in epoch 1, step 3"}
    assert "in hook" in (tmp_path / "checkpoints" / broken[0] / "failure.txt").read_text()
    assert [e.reason for e in events if e.kind == "failed"] == ["RuntimeError: the loss is nan in epoch 1, step 3"] * 2


OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate {} MiB"


def test_a_study_from_before_some_options_goes_on_and_other_values_are_still_refused(tmp_path: Path) -> None:
    run_toy(tmp_path, toy_card(trials=2))
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as file, file:
        card, resolved = map(json.loads, file.execute("SELECT card, resolved FROM studies").fetchone())
        for option in ("promotion", "wait", "floor", "supernet", "init", "limits_by", "time_limit"):
            del card[option]
        del resolved["recipe"]["sync_norm"], resolved["recipe"]["schedule"]["warmup_steps"]
        file.execute("UPDATE studies SET card = ?, resolved = ?", (json.dumps(card), json.dumps(resolved)))
    assert run_toy(tmp_path, toy_card(trials=2)).complete
    with pytest.raises(UserError, match=r"(?s)differs in\n  floor: was 0.0, now 0.1\n  wait: was 0.5, now 1.0\ngive"):
        run_toy(tmp_path, toy_card(trials=2, floor=0.1, wait=1.0))
    with pytest.raises(UserError, match=r"differs in\n  recipe\.sync_norm: was False, now True\ngive"):
        run_toy(tmp_path, toy_card(trials=2), recipe=toy_recipe().with_changes(sync_norm=True))


@pytest.mark.parametrize(
    ("error", "reason", "advice"),
    [
        (MemoryError("no space for a batch of {}"), "out of memory: no space for a batch of {}", "batch_size"),
        (RuntimeError(OUT_OF_MEMORY), f"out of memory: {OUT_OF_MEMORY}", "batch_size"),
        (FloatingPointError("loss is NaN in step {}"), "FloatingPointError: loss is NaN in step {}", "learning rate"),
        (KeyError("{}"), "KeyError: '{}'", "failure.txt"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_three_failures_in_a_row_with_the_same_reason_stop_the_study_with_advice(
    tmp_path: Path, error: Exception, reason: str, advice: str
) -> None:
    calls = iter(range(1000))

    def hook(key: str, epochs: int) -> None:
        raise type(error)(error.args[0].format(next(calls)))  # the numbers in it are not the reason

    result = run_toy(tmp_path, evaluator=ToyEvaluator(hook=hook))
    assert not result.complete and result.failed == 3 and result.done == 0
    assert all(reason.format(number) in result.reason for number in range(3)) and advice in result.reason
    assert run_toy(tmp_path).complete, "once the cause is mended the study goes on"


def test_failures_of_different_reasons_or_with_a_success_between_them_do_not_stop_the_study(tmp_path: Path) -> None:
    ends = iter(["nan", "memory", "nan", "memory", "memory", "done", "nan", "nan", "done"])

    def hook(key: str, epochs: int) -> None:
        if (end := next(ends, "done")) != "done":
            raise MemoryError("too large") if end == "memory" else RuntimeError("the loss is nan")

    result = run_toy(tmp_path, toy_card(trials=4), ToyEvaluator(hook=hook))
    assert result.complete and result.failed == 7


def test_an_evaluation_that_hangs_ends_at_its_time_limit_and_the_study_goes_on(tmp_path: Path) -> None:
    calls = iter(range(100))

    def hook(key: str, epochs: int) -> None:
        if next(calls) == 1:
            time.sleep(600)

    result = run_toy(tmp_path, toy_card(trials=3, time_limit=0.5), ToyEvaluator(hook=hook))
    (failed,) = ledger_of(tmp_path).evaluations("failed")
    assert result.complete and failed.reason == "took longer than its time limit of 0.5 s"
    assert failed.seconds is not None and 0.5 <= failed.seconds < 60


def test_an_evaluation_that_cannot_be_interrupted_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals reach the main thread alone, so that another stands for what is deaf to them."""
    monkeypatch.setattr(worker_module, "GRACE", 0.1)
    awake = threading.Event()
    deaf = ToyEvaluator(hook=lambda key, epochs: None if awake.wait(60) else None)
    thread = threading.Thread(target=run_toy, args=(tmp_path, toy_card(trials=1, time_limit=0.1), deaf))
    thread.start()
    until = time.monotonic() + 60
    while time.monotonic() < until and not (
        (tmp_path / "study.yaml").exists() and ledger_of(tmp_path).evaluations("failed")
    ):
        time.sleep(0.02)
    (failed,) = ledger_of(tmp_path).evaluations("failed")
    deaf.hook = lambda key, epochs: None
    awake.set()
    thread.join()
    assert failed.reason == "took longer than its time limit of 0.1 s and cannot be interrupted"


@pytest.mark.parametrize("scores", [{"score": float("nan"), "ap": 0.0}, {"ap": 0.0}, {"score": 1.5, "ap": 0.0}])
def test_a_score_must_be_a_score(tmp_path: Path, scores: dict[str, float]) -> None:
    result = run_toy(tmp_path, evaluator=lambda *anything: scores)
    assert not result.complete and result.failed == 3
    reasons = [evaluation.reason for evaluation in ledger_of(tmp_path).evaluations("failed")]
    assert all("the evaluator returned no" in reason for reason in reasons)


def test_a_users_mistake_inside_an_evaluation_is_no_failure(tmp_path: Path) -> None:
    def missing(*anything: Any) -> Any:
        raise UserError("there is no folder here")

    with pytest.raises(UserError, match="there is no folder"):
        run_toy(tmp_path, evaluator=missing)
    assert ledger_of(tmp_path).evaluations() == []
    assert run_toy(tmp_path).complete


# ---------------------------------------------------------------------------------------------------------------------
# the ladder


def test_the_best_climb_and_go_on_from_their_checkpoint(tmp_path: Path) -> None:
    card = toy_card(trials=18, ladder=[{"epochs": 1}, {"epochs": 2}, {"epochs": 4}], keep=1 / 3)
    evaluator = ToyEvaluator()
    assert run_toy(tmp_path, card, evaluator).complete
    trials = ledger_of(tmp_path).trials()
    rungs = Counter(e.identity.rung for t in trials for e in t.evaluations)
    assert rungs[0] == 18 and 6 <= rungs[1] <= 12 and rungs[1] // 3 <= rungs[2] <= rungs[1]
    steps = (tmp_path / "steps.log").read_text().split("\n")[:-1]
    assert len({tuple(line.split()[:2]) for line in steps}) == len(steps), "no step is taken twice"
    best = rank_trials([(t, t.evaluations[0]) for t in trials], card)[:6]
    assert all(len(trial.evaluations) > 1 for trial in best), "in the end the best third has climbed"
    assert next_promotion(trials, card, seed=1) is None
    for trial in trials:
        assert [e.identity.rung for e in trial.evaluations] == list(range(len(trial.evaluations)))


def test_a_driver_hears_the_highest_rung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: dict[int, list[float]] = {}

    class Listener:
        def tell(self, told: Any) -> None:
            if told.outcome == "measured":
                heard.setdefault(told.number, []).append(told.values["score"])

        def ask(self, seed: int) -> Any:
            return Ask(toy_space().sample(np.random.default_rng(seed)))

    monkeypatch.setattr(study_module, "make_driver", lambda *anything: Listener())
    run_toy(tmp_path, toy_card(trials=12, ladder=[{"epochs": 1}, {"epochs": 4}]))
    climbed = [t for t in ledger_of(tmp_path).trials() if len(t.evaluations) == 2 and t.number < 8]
    assert climbed
    for trial in climbed:
        assert trial.final is not None and trial.final.identity.rung == 1
        assert heard[trial.number][-1] == trial.final.scores["score"]


def test_a_trial_is_repeated_with_other_seeds_and_the_front_keeps_the_studys_own(tmp_path: Path) -> None:
    card = toy_card(trials=6, ladder=[{"epochs": 1}, {"epochs": 2}])
    run_toy(tmp_path, card)
    before = ledger_of(tmp_path).trials()
    trial = next(t for t in before if len(t.evaluations) == 2)
    evaluator = ToyEvaluator()
    again = repeat_trial(card, tmp_path, trial.key, [7, 8, 7], {"proxy": evaluator}, toy_recipe())
    own, *others = again.done
    assert again.missing == {} and own == trial.final and [e.identity.seed for e in others] == [7, 8]
    assert evaluator.calls == [(trial.key, 1, 7), (trial.key, 2, 7), (trial.key, 1, 8), (trial.key, 2, 8)]
    assert len({e.scores["score"] for e in [own, *others]}) == 3
    assert ledger_of(tmp_path).trials()[trial.number].final == own
    assert [t.number for t in front(before, card.goals)] == [
        t.number for t in front(ledger_of(tmp_path).trials(), card.goals)
    ]
    evaluator.calls.clear()
    assert run_toy(tmp_path, card, evaluator).complete and evaluator.calls == [], "the search takes no notice"
    with pytest.raises(UserError, match="has no trial 123"):
        repeat_trial(card, tmp_path, "123", [7], {"proxy": evaluator}, toy_recipe())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_size": 16}, "recipe was toy "),
        ({"input": (256, 192)}, "input was 128x96, is now 256x192"),
        ({"data": DrawnData(kind="drawn", seed=5)}, "data was "),
    ],
)
def test_a_trial_is_repeated_as_it_was_measured_or_not_at_all(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    run_toy(tmp_path, toy_card(trials=1))
    key = ledger_of(tmp_path).trials()[0].key
    with pytest.raises(UserError, match=f"have changed since: {says}"):
        repeat_trial(toy_card(trials=1), tmp_path, key, [7], {}, toy_recipe().with_changes(**change))
    assert len(ledger_of(tmp_path).evaluations()) == 1


def test_a_seed_that_fails_climbs_no_further_and_is_said(tmp_path: Path) -> None:
    card = toy_card(trials=3, ladder=[{"epochs": 1}, {"epochs": 2}])
    run_toy(tmp_path, card)
    trial = next(t for t in ledger_of(tmp_path).trials() if len(t.evaluations) == 2)
    calls: list[tuple[int, int]] = []

    def evaluator(architecture: Any, rung: Any, seed: int, *more: Any) -> dict[str, object]:
        calls.append((seed, rung.epochs))
        if seed == 8 or (seed, rung.epochs) == (9, 2):
            raise RuntimeError("the loss is nan")
        return {"score": 0.5, "ap": 0.0}

    for _ in range(2):  # said again when it is asked for again, though nothing is tried again
        again = repeat_trial(card, tmp_path, trial.key, [7, 8, 9], {"proxy": evaluator}, toy_recipe())
        assert [e.identity.seed for e in again.done] == [1, 7]
        assert again.missing == dict.fromkeys((8, 9), "failed: RuntimeError: the loss is nan")
        assert calls == [(7, 1), (7, 2), (8, 1), (9, 1), (9, 2)]


# ---------------------------------------------------------------------------------------------------------------------
# several workers, and what a watcher sees


def test_several_workers_share_a_study(tmp_path: Path) -> None:
    card = toy_card(trials=16, driver=TPE)
    evaluators = [ToyEvaluator(pause=0.002) for _ in range(3)]
    threads = [threading.Thread(target=run_toy, args=(tmp_path, card, e)) for e in evaluators]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trials = ledger_of(tmp_path).trials()
    assert len(trials) == 16 and all(len(t.evaluations) == 1 and t.final for t in trials)
    assert sum(len(e.calls) for e in evaluators) == 16
    assert sum(len(e.calls) > 0 for e in evaluators) > 1


def test_an_owner_is_told_from_others_with_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_text

    def without_boot(path: Path, *more: Any, **named: Any) -> str:
        if path.name == "boot_id":
            raise PermissionError(path)
        return read(path, *more, **named)

    run_toy(tmp_path, toy_card(trials=1))
    evaluation = ledger_of(tmp_path).evaluations()[0]
    host, pid, start = this_owner().rsplit(":", 2)
    assert evaluation.owner == this_owner() and is_alive(evaluation)
    assert not is_alive(replace(evaluation, owner=f"{host}:{pid}:{start}0")), "the number was given to another process"
    assert not is_alive(replace(evaluation, owner=f"{host}:{2**22 + 1}:{start}"))
    monkeypatch.setattr(Path, "read_text", without_boot)
    hidden = this_owner()
    assert hidden == f"{host}:{pid}:-{start.rpartition('-')[2]}" and is_alive(replace(evaluation, owner=hidden))
    monkeypatch.undo()
    elsewhere = replace(evaluation, owner=f"far.away:{pid}:{start}")
    assert is_alive(elsewhere) and not is_alive(replace(elsewhere, heartbeat=evaluation.heartbeat - 3600))


def test_events_tell_what_a_watcher_needs(tmp_path: Path) -> None:
    events: list[Event] = []
    run_toy(
        tmp_path, toy_card(trials=6, driver=NSGA, limits={"macs": 350_000}, limits_by="driver"), on_event=events.append
    )
    kinds = Counter(event.kind for event in events)
    assert kinds["start"] == kinds["end"] == 1 and kinds["measuring"] == kinds["finished"] == 6
    assert kinds["progress"] == 6 * 4 and kinds["infeasible"] > 0
    finished = [event for event in events if event.kind == "finished"]
    assert [event.done for event in finished] == [1, 2, 3, 4, 5, 6] and finished[-1].total == 6
    assert all(event.key and event.score and event.ap and event.front for event in finished)
    best = front(ledger_of(tmp_path).trials(), toy_card().goals)
    assert events[-1].kind == "end" and events[-1].front == finished[-1].front == len(best) < 6


def test_a_watcher_is_told_once_for_whom_a_study_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a restart under another host name: a dead owner is waited for until it was silent for long."""
    card = toy_card(trials=2)

    def die(*anything: Any) -> Any:
        raise Interrupted

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Ledger, "release", lambda *anything: True)  # killed: nothing is given back
        patch.setattr("hrnas.search.study.this_owner", lambda: "old-name:12:now")
        run_toy(tmp_path, card, die)
    looks = iter(range(3))
    monkeypatch.setattr(study_module, "WAIT", 0.0)
    monkeypatch.setattr(study_module, "is_alive", lambda evaluation: next(looks, None) is not None)
    events: list[Event] = []
    assert run_toy(tmp_path, card, on_event=events.append).complete
    waiting = [event for event in events if event.kind == "waiting"]
    assert len(waiting) == 1 and waiting[0].trial == 0 and "old-name:12" in waiting[0].reason
    assert [event.kind for event in events].index("waiting") < [event.kind for event in events].index("broken")


def test_optunas_tools_open_a_study(tmp_path: Path) -> None:
    def hook(key: str, epochs: int, seen: list[str] = []) -> None:  # noqa: B006  one list for the whole test
        seen.append(key)
        if len(seen) == 2:
            raise RuntimeError("the loss is nan")

    run_toy(tmp_path, toy_card(trials=6, limits={"macs": 600_000}), ToyEvaluator(hook=hook))
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "optuna.journal"))
    )
    mirror = optuna.load_study(study_name="toy", storage=storage)
    assert mirror.metric_names == ["score", "macs"]
    trials = ledger_of(tmp_path).trials()
    assert [trial.user_attrs["key"] for trial in mirror.trials] == [trial.key for trial in trials]
    assert [trial.state.name for trial in mirror.trials].count("FAIL") == 1
    assert mirror.trials[1].user_attrs["reason"] == "RuntimeError: the loss is nan"
    for ours, theirs in zip(trials, mirror.trials, strict=True):
        if ours.final is not None:
            assert theirs.values == [ours.final.scores["score"], ours.costs["macs"]]
            assert (
                theirs.user_attrs["macs"] == ours.costs["macs"] and theirs.user_attrs["ap"] == ours.final.scores["ap"]
            )
            assert theirs.params["widths[0]"] == ours.architecture["widths"][0]
