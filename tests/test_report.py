"""The report says what the ledger says, no more; and its page asks nothing of the network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotly.offline import get_plotlyjs

from hrnas import pareto
from hrnas.ledger import Evaluation, Identity, Ledger, Proposal, StudyRecord, Trial
from hrnas.reading import UserError
from hrnas.report import figures
from hrnas.report.facts import (
    StudyFacts,
    format_front,
    front_document,
    front_table,
    hypervolume_document,
    staircase,
    study_facts,
)
from hrnas.report.page import write_report
from hrnas.report.picks import Budgets, pick_points
from hrnas.report.words import format_cost, format_seconds

GOALS = {"score": "maximize", "macs": "minimize"}
PUBLISHED = {
    "lite_hrnet_18": (1_130_769, 198.63e6),
    "lite_hrnet_30": (1_763_717, 309.45e6),
    "naive_lite_hrnet_18": (760_365, 185.52e6),
    "wider_naive_lite_hrnet_18": (1_318_625, 302.33e6),
    "small_hrnet_w16": (1_284_961, 570.70e6),
}


# ---------------------------------------------------------------------------------------------------------------------
# a study that nobody ran


def card(**changes: Any) -> dict[str, Any]:
    plain = {
        "name": "made_up",
        "about": "Forty made-up trials on drawn people.",
        "space": "quickstart",
        "trainer": "proxy_small",
        "data": {"kind": "drawn", "train": 3000, "holdout": 400, "seed": 7},
        "goals": GOALS,
        "reference": {"score": 0.0, "macs": 2e9},
        "limits": {"params": 3_000_000, "macs": 600_000_000},
        "driver": {"kind": "optuna", "sampler": "tpe", "seed": 1},
        "ladder": [{"fidelity": "proxy", "epochs": 2}],
        "trials": 40,
        "published": "first",
    }
    return plain | changes


def tree(rng: np.random.Generator) -> dict[str, Any]:
    width = int(rng.choice([16, 24, 32, 40]))
    row = {"kind": "weighted_shuffle", "kernel": 3, "cross": {"kind": "ccw", "reduction": 8}, "single": {"kind": "se"}}
    stage = {"modules": 2, "blocks": 2, "row": row, "fusion": {"kind": "lite"}, "transition": {"kind": "lite"}}
    return {
        "stem": {"kind": "shuffle", "out": 32},
        "widths": [width * 2**branch for branch in range(4)],
        "stages": [stage | {"modules": int(rng.integers(1, 5))} for _ in range(3)],
        "head": {"kind": "iterative"},
    }


def trial(number: int, score: float, macs: float, **changes: Any) -> Trial:
    key = f"{number:012x}"
    plain = Trial(
        number=number,
        key=key,
        architecture={},
        genome=(number,),
        costs={"macs": macs, "params": macs / 200},
        origin="driver",
        title="",
        evaluations=(evaluation(key, score, finished=float(number)),),
    )
    return replace(plain, **changes)


def evaluation(key: str, score: float, finished: float | None = 0.0, half: float = 0.01, **changes: Any) -> Evaluation:
    identity = {
        "key": key,
        "fidelity": "proxy",
        "rung": 0,
        "input": "128x96",
        "data": "drawn",
        "recipe": "ab",
        "seed": 0,
    }
    identity |= {name: changes.pop(name) for name in list(changes) if name in identity}
    scores = {"score": score, "oks": score, "ap": score / 4, "oks_low": score - half, "oks_high": score + half}
    scores |= {"ap_low": score / 4 - half, "ap_high": score / 4 + half}
    plain = {"attempt": 1, "state": "done", "owner": "me", "heartbeat": 0.0, "reason": "", "started": 0.0}
    plain |= {"id": 1, "scores": scores, "seconds": 30.0, "finished": finished}
    return Evaluation(identity=Identity(**identity), **(plain | changes))


def facts_of(*trials: Trial, proposals: tuple[Proposal, ...] = (), resolved: Any = None, **changes: Any) -> StudyFacts:
    return study_facts(
        StudyRecord("made_up", card(**changes), resolved or {}, {"python": "3.11.2"}, 0.0), trials, proposals
    )


def write_study(folder: Path, trials: int = 40, finished: int | None = None, title: str | None = None) -> Path:
    """A run folder with a real ledger: published points, then made-up trials; one failed, one broken, one running."""
    rng = np.random.default_rng(0)
    ledger = Ledger.open(folder / "ledger.sqlite", create=True)
    environment = {
        "python": "3.11.2",
        "system": "Linux x86_64",
        "cores": 2,
        "threads": 2,
        "packages": {"hrnas": "0.1.0", "torch": "2.13.0+cpu", "numpy": "2.4.6", "optuna": "5.0.0"},
        "commit": "4500623fd7aa+",
    }
    ledger.create_study(
        card(trials=trials), environment, {"recipe": {"input": "128x96", "epochs": 2, "batch_size": 16}}
    )
    points = list(PUBLISHED.items())
    for number in range(trials):
        name, (params, macs) = points[number] if number < min(len(points), trials) else ("", (0, 0.0))
        if not name:
            macs = float(10 ** rng.uniform(7.7, 8.75))
            params = round(macs / 170 * 10 ** rng.uniform(-0.25, 0.25))
        costs = {"params": params, "macs": round(macs), "params_live": params, "conv_gi": round(macs / 2**30, 4)}
        key = f"{int(rng.integers(2**47)):012x}"
        shown = (title or name) if number == 0 else name
        origin = "published" if name else "driver"
        ledger.propose(
            number * 2, (number,), key, outcome="new", origin=origin, costs=costs, architecture=tree(rng), title=shown
        )
        repeat = ("duplicate", key) if number % 3 else ("infeasible", f"{number:012d}")
        ledger.propose(
            number * 2 + 1,
            (number,),
            repeat[1],
            outcome=repeat[0],  # type: ignore[arg-type]
            origin="driver",
            costs={"params": 2_000_000 + number * 100_000, "macs": 9e8},
            refused={} if number % 3 else {"macs": 1},
        )
        if finished is not None and number >= finished:
            continue
        seeds = (0, 1, 2) if number == 0 else (0,)
        for seed in seeds:
            identity = Identity(key, "proxy", 0, "128x96", "drawn (seed 7, 3000 + 400 persons)", "proxy_small", seed)
            mine = ledger.claim(identity, "host:1")
            assert mine is not None
            if number == 11:
                ledger.fail(mine.id, "the loss became NaN in step 112")
                continue
            if number == 12:
                ledger.recover(lambda _: False)
                mine = ledger.claim(identity, "host:2")
                assert mine is not None
            if number == trials - 1 and finished is None and trials > 10:
                continue  # still running
            score = float(0.30 + 0.11 * np.log10(macs / 5e7) + rng.normal(0, 0.02))
            ap = max(0.0, (score - 0.33) * 0.7)
            ledger.finish(
                mine.id,
                {
                    "score": score,
                    "oks": score,
                    "oks_low": score - 0.012,
                    "oks_high": score + 0.012,
                    "ap": ap,
                    "ap_low": max(0.0, ap - 0.008),
                    "ap_high": ap + 0.008,
                },
                seconds=float(20 + macs / 1e7),
            )
    ledger.close()
    return folder


# ---------------------------------------------------------------------------------------------------------------------
# facts


def test_the_front_holds_who_is_not_beaten_in_any_goal() -> None:
    facts = facts_of(trial(0, 0.4, 1e8), trial(1, 0.5, 2e8), trial(2, 0.45, 3e8), trial(3, 0.6, 3e8))
    assert [row.key for row in front_table(facts)] == [f"{n:012x}" for n in (3, 1, 0)]  # best score first
    assert [row.rank for row in front_table(facts)] == [1, 2, 3]


def test_the_front_is_the_one_that_the_search_sees() -> None:
    rng = np.random.default_rng(3)
    trials = [trial(n, float(rng.uniform(0.2, 0.5)), float(rng.uniform(1e8, 9e8))) for n in range(30)]
    ours = sorted(row.key for row in front_table(facts_of(*trials)))
    assert ours == sorted(one.key for one in pareto.front(trials, GOALS))


def picked(facts: StudyFacts, how: Any, count: int = 3, budgets: Budgets | None = None) -> list[int]:
    return [pick.point.number for pick in pick_points(facts, how, count, budgets)]


def test_picks_stand_on_the_front_with_costs_in_decades() -> None:
    """Scores and decades of cost in even steps, but trial 2, which is early: the knee; trial 5 is beaten by it."""
    scores = {0: 0.1, 1: 0.2, 2: 0.5, 3: 0.55, 4: 0.6, 5: 0.4}
    facts = facts_of(*(trial(number, score, 10 ** (6 + min(number, 4))) for number, score in scores.items()))
    assert picked(facts, "knee", 1) == [2]
    assert pick_points(facts, "knee", 1)[0].why.startswith(f"{(1 - 0.5 - 0.2) / 2**0.5:.3f} before the chord")
    assert picked(facts, "spread", 2) == [4, 0] and sorted(picked(facts, "spread", 9)) == [0, 1, 2, 3, 4]
    assert picked(facts, "budget", 4) == [1, 2, 3, 4]  # a decade each: up to 1e7, 1e8, 1e9, 1e10


def test_the_best_within_a_budget_may_lie_off_the_front() -> None:
    small = trial(1, 0.3, 3e8, costs={"macs": 3e8, "params": 1e5})
    facts = facts_of(trial(0, 0.4, 2e8), small, trial(2, 0.5, 3e8))
    assert picked(facts, "budget", budgets=Budgets("params", (2e5, 1e6, 2e6))) == [1, 0, 2]
    assert picked(facts, "budget", budgets=Budgets("macs", (2e8, 2.5e8))) == [0]  # the best of both
    with pytest.raises(UserError, match="no trial has params <= 1K; the least is 100K"):
        picked(facts, "budget", budgets=Budgets("params", (1e3,)))
    with pytest.raises(UserError, match="did not count all_ops; there are: macs, params"):
        picked(facts, "budget", budgets=Budgets("all_ops", (1.0,)))


def test_without_a_cost_among_the_goals_a_budget_must_be_said() -> None:
    with pytest.raises(UserError, match="say one, such as --budget macs=200M"):
        picked(facts_of(trial(0, 0.4, 2e8), goals={"score": "maximize"}), "budget")


def test_measurements_of_different_settings_are_never_on_one_front() -> None:
    for change in ({"rung": 1}, {"input": "256x192"}, {"data": "coco"}, {"recipe": "other"}, {"fidelity": "full"}):
        plain, other = trial(0, 0.4, 1e8), trial(1, 0.9, 1e7)
        other = replace(other, evaluations=(evaluation(other.key, 0.9, **change),))
        sections = facts_of(plain, other).sections
        assert [len(section.points) for section in sections] == [1, 1], change
        assert all(section.points[0].on_front for section in sections)


def test_the_highest_rung_of_the_ladder_is_looked_at_first_and_full_training_last() -> None:
    one = trial(0, 0.3, 1e8)
    full = evaluation(one.key, 0.7, fidelity="full", input="256x192")
    done = [evaluation(one.key, 0.3), evaluation(one.key, 0.4, rung=1), full]
    ladder = [{"fidelity": "proxy", "epochs": 2}, {"fidelity": "proxy", "epochs": 6}]
    facts = facts_of(replace(one, evaluations=tuple(done)), ladder=ladder)
    assert [section.points[0].score for section in facts.sections] == [0.4, 0.3, 0.7]
    assert facts.main is not None and "6 epochs, rung 2 of 2" in facts.main.label
    assert ["costs counted at 128x96" in section.label for section in facts.sections] == [False, False, True]


def test_who_climbed_is_told_for_each_quarter_of_costs() -> None:
    ladder = [{"fidelity": "zero_cost", "by": "naswot"}, {"fidelity": "proxy", "epochs": 6}]
    driver = {"kind": "random", "seed": 0}
    trials = [trial(number, 0.3, 1e6 * (8 - number)) for number in range(8)]
    for number in (0, 1, 5):
        low = trials[number].evaluations
        trials[number] = replace(trials[number], evaluations=(*low, evaluation(trials[number].key, 0.4, rung=1)))
    (table,) = [table for table in facts_of(*trials, ladder=ladder, driver=driver).tables if "climbed" in table.title]
    assert table.title == "Who climbed, by MACs"
    assert table.rows == (
        ("cheapest quarter, 1M to 2M", "0 on rung 2, of 2"),
        ("second quarter, 3M to 4M", "1 on rung 2, of 2"),
        ("third quarter, 5M to 6M", "0 on rung 2, of 2"),
        ("dearest quarter, 7M to 8M", "2 on rung 2, of 2"),
    )
    one_rung = facts_of(*trials, ladder=ladder[1:], driver=driver)
    assert not any("climbed" in table.title for table in one_rung.tables)


def test_the_first_of_several_seeds_counts_and_the_others_tell_the_noise() -> None:
    repeated = trial(0, 0.40, 1e8)
    seeds = tuple(evaluation(repeated.key, score, seed=seed) for seed, score in enumerate((0.40, 0.42, 0.44)))
    facts = facts_of(replace(repeated, evaluations=seeds), trial(1, 0.60, 2e8))
    assert facts.main is not None
    assert facts.main.points[0].score == 0.40
    assert facts.main.points[0].seed_scores == ((0, 0.40), (1, 0.42), (2, 0.44))
    # by hand: the deviation of 0.40, 0.42, 0.44 is 0.02; that of 0.40, 0.60 is 0.2 / sqrt(2)
    assert "seeds of one network the score varies by 0.020, between networks by 0.141" in " ".join(facts.caveats)


def test_front_members_whose_intervals_overlap_are_marked_both_ways() -> None:
    facts = facts_of(trial(0, 0.400, 1e8), trial(1, 0.415, 2e8), trial(2, 0.500, 3e8), trial(3, 0.399, 4e8))
    marks = {row.rank: row.within_noise for row in front_table(facts)}
    assert marks == {1: (), 2: (3,), 3: (2,)}  # 0.5 stands alone; the dominated trial 3 marks nobody
    assert "2 of the 3 front members are within noise" in " ".join(facts.caveats)


def test_without_intervals_nothing_is_said_of_noise_but_that_it_is_unknown() -> None:
    bare = trial(0, 0.4, 1e8, evaluations=(evaluation("0", 0.4, scores={"score": 0.4}),))
    facts = facts_of(bare)
    row = front_table(facts)[0]
    assert row.score_interval is None and row.ap is None and row.within_noise == ()
    assert "No bootstrap intervals were recorded" in " ".join(facts.caveats)


def test_hypervolume_follows_the_order_of_finishing_and_never_falls() -> None:
    rng = np.random.default_rng(5)
    trials = [trial(n, float(rng.uniform(0.2, 0.5)), float(rng.uniform(1e8, 9e8)), evaluations=()) for n in range(12)]
    order = rng.permutation(12)
    trials = [
        replace(one, evaluations=(evaluation(one.key, float(rng.uniform(0.2, 0.5)), finished=float(order[n])),))
        for n, one in enumerate(trials)
    ]
    steps = facts_of(*trials).sections[0].history
    assert [step.number for step in steps] == list(np.argsort(order))
    volumes = [step.hypervolume for step in steps]
    assert volumes == sorted(volumes)
    values = pareto.oriented(pareto.measured([trials[n] for n in np.argsort(order)], "proxy"), GOALS)
    corner = pareto.oriented_reference(GOALS, {"score": 0, "macs": 2e9})
    assert volumes == pytest.approx([pareto.hypervolume(values[: n + 1], corner) for n in range(12)])
    assert hypervolume_document(facts_of(*trials))[-1]["front"] == len(front_table(facts_of(*trials)))


def test_hypervolume_of_one_trial_is_its_score_times_its_decades_below_the_reference() -> None:
    step = facts_of(trial(0, 0.4, 2e8)).sections[0].history[0]
    assert step.hypervolume == pytest.approx(0.4 * 1.0)  # 200M is one decade below 2G


def test_a_figure_has_its_own_staircase() -> None:
    points = facts_of(trial(0, 0.4, 1e8), trial(1, 0.3, 2e8), trial(2, 0.5, 3e8)).sections[0].points
    assert staircase(points, "score", "macs") == ((1e8, 0.4), (3e8, 0.5))
    assert staircase(points, "ap", "params") == ((5e5, 0.1), (1.5e6, 0.125))
    assert staircase(points, "score", "unknown") == ()


def test_proposals_are_counted_with_their_reasons() -> None:
    def proposal(number: int, key: str, outcome: Any, origin: str = "driver", **refused: int) -> Proposal:
        return Proposal(
            number, (), key, origin, outcome, {}, {}, {name.replace("_", ", "): n for name, n in refused.items()}
        )

    facts = facts_of(
        proposals=(
            proposal(0, "a", "new", "published"),
            proposal(1, "b", "new"),
            proposal(2, "b", "duplicate"),
            proposal(3, "c", "infeasible", macs=1),
            proposal(4, "c", "duplicate"),
            proposal(5, "d", "infeasible", macs_params=1),
            proposal(6, "e", "new", "repaired", params=1),
            proposal(7, "f", "new", "random", macs=17),
        )
    )
    found = {outcome.name: (outcome.times, dict(outcome.reasons)) for outcome in facts.proposals}
    smaller = "from the driver, made smaller to fit the limits"
    assert found["new"] == (4, {"published points": 1, "from the driver": 1, smaller: 1, "drawn at random": 1})
    assert found["duplicate"] == (2, {"of an earlier trial": 1, "of a network refused before": 1})
    assert found["infeasible"] == (20, {"MACs above 600M": 19, "parameters above 3M": 2})


def test_failed_and_broken_evaluations_keep_their_reasons_and_make_no_point() -> None:
    bad = evaluation("0", 0.9, state="failed", reason="NaN", scores={})
    lost = evaluation("0", 0.9, state="broken", reason="gone", scores={})
    facts = facts_of(trial(0, 0.9, 1e8, evaluations=(lost, bad)), trial(1, 0.4, 1e8))
    found = {outcome.name: (outcome.times, outcome.reasons) for outcome in facts.evaluations}
    assert found["failed"] == (1, (("NaN", 1),)) and found["broken"] == (1, (("gone", 1),)) and found["done"][0] == 1
    assert facts.finished == 1 and facts.main is not None and [p.number for p in facts.main.points] == [1]


def test_a_winner_is_not_yet_checked_until_random_search_was_beaten() -> None:
    assert "Not yet checked: whether the winner (trial 0)" in facts_of(trial(0, 0.4, 1e8)).caveats[0]
    random = facts_of(trial(0, 0.4, 1e8), driver={"kind": "random", "seed": 0}).caveats[0]
    assert "random search itself" in random and "Not yet checked" in random


def retrained(one: Trial, *scores: float) -> Trial:
    """The trial, trained in full with so many seeds."""
    full = (evaluation(one.key, score, fidelity="full", seed=seed, recipe="f") for seed, score in enumerate(scores))
    return replace(one, evaluations=(*one.evaluations, *full))


def verdict(ours: tuple[float, ...], theirs: tuple[float, ...], **changes: Any) -> str:
    """What is said of a winner of 2e8 MACs; the baseline's trials 1 and 2 are better, but dearer or less good."""
    random = {"driver": {"kind": "random", "seed": 0}, "name": "baseline"} | changes
    baseline = facts_of(retrained(trial(0, 0.5, 1.9e8), *theirs), trial(1, 0.9, 2.1e8), trial(2, 0.4, 1e8), **random)
    record = StudyRecord("made_up", card(), {}, {}, 0.0)
    return study_facts(record, [retrained(trial(0, 0.6, 2e8), *ours), trial(1, 0.3, 9e7)], (), rival=baseline).caveats[
        0
    ]


def test_the_page_tells_how_it_was_measured() -> None:
    split = {"persons_train": 3000, "persons": 400}
    one = trial(0, 0.5, 1e8, evaluations=())
    done = replace(evaluation("a", 0.5), scores={"score": 0.5, **split}, seconds=60.0, cpu_seconds=110.0)
    other = replace(evaluation("a", 0.4, seed=2), scores={"score": 0.4, **split}, seconds=30.0, cpu_seconds=50.0)
    full = evaluation("a", 0.7, fidelity="full", recipe="lite f, 210 epochs", seconds=7200.0)
    lost = evaluation("b", 0.0, state="failed", seconds=5.0, cpu_seconds=9.0)
    random = facts_of(trial(0, 0.4, 1e8), driver={"kind": "random"})
    record = StudyRecord("made_up", card(), {}, {"packages": {"hrnas": "0.1"}, "commit": "45+"}, 0.0)
    facts = study_facts(
        record, [replace(one, evaluations=(done, other, full, lost))], (), None, random, {"seconds": 3600.0}
    )
    table = facts.tables[0]
    rows = dict(table.rows)
    assert table.title == "How this was measured"
    assert (rows["code"], rows["search space"], rows["driver"]) == ("hrnas 0.1 45+", "quickstart", "optuna, tpe")
    assert rows["split"].startswith("proxy: 3,000 persons learnt from, scored on 400 held out")
    assert (rows["seed of the driver"], rows["seed of the data"], rows["seeds of training"]) == ("1", "7", "0, 2")
    assert rows["compared with"] == "made_up (random)"
    assert rows["time of proxy training"] == "1 min 35 s, 2 min 49 s CPU; 3 evaluations, 1 failed"
    assert rows["time of supernet training"] == "1 h, CPU not recorded"
    assert rows["time of full training of picks"] == "2 h, CPU not recorded; 1 evaluation"
    ways = [value for name, value in table.rows if name == "trained and scored by"]
    assert ways == ["ab, input 128x96, proxy", "lite f, 210 epochs, input 128x96, full"]
    assert dict(facts_of(trial(0, 0.4, 1e8)).tables[0].rows)["compared with"] == "no other study yet"


def test_the_page_tells_what_the_limits_let_through_and_how_good_the_predictor_is() -> None:
    def rows(*proposals: Proposal, **driver: Any) -> dict[str, str]:
        limited = {**card(), "limits": {"macs": 2e8}, "driver": {"kind": "random", **driver}}
        record = StudyRecord("made_up", limited, {}, {}, 0.0)
        return dict(study_facts(record, [trial(0, 0.4, 1e8)], proposals).tables[0].rows)

    chosen = [{"predictor": {"tau": tau, "of_costs": 0.31}} for tau in (0.4, 0.62)]
    asked = [Proposal(number, (), "a", "driver", "new", {}, state) for number, state in enumerate(({}, *chosen))]
    outside = Proposal(3, (), "b", "random", "infeasible", {}, {}, {"macs": 5})
    repaired = Proposal(4, (), "c", "repaired", "new", {}, {}, {"macs": 1})
    found = rows(*asked, outside, repaired)
    assert found["inside the limits"] == "3 of 9 networks (33.3%) as they were proposed"
    assert found["predictor"] == (
        "Kendall's tau 0.62 with networks left out, one cost by itself 0.31 (at the last of 2 proposals that it chose)"
    )
    assert "has not ranked" in rows(asked[0], predictor=True)["predictor"]
    assert not {"predictor", "inside the limits"} & set(rows())


def test_a_winner_is_checked_against_random_search_at_equal_cost() -> None:
    said = verdict((0.71, 0.72, 0.73), (0.68, 0.69, 0.70))
    assert "the winner (trial 0) beats the winner of random search (made_up) at equal cost" in said
    assert f"(trial 0, {0:012x}): yes. " in said
    assert (
        "0.710 to 0.730 (3 seeds) and 0.680 to 0.700 (3 seeds); of the 20 ways" in said and " 1 put the first" in said
    )
    assert "2 trials and 3 trials" in said and "differ" not in said
    said = verdict((0.71, 0.72, 0.73), (0.68, 0.69, 0.715))
    assert ": not known. " in said and " 2 put the first" in said  # one swap: 2 of 20 are more than 5 %
    assert ": no. " in verdict((0.68, 0.69, 0.70), (0.71, 0.72, 0.73))
    assert "differ in more than the driver: limits." in verdict((0.8,) * 3, (0.7,) * 3, limits={})


def test_where_ap_tells_nothing_a_winner_is_checked_by_oks() -> None:
    def trained(one: Trial, *oks: float) -> Trial:
        full = [
            evaluation(one.key, 0.0, fidelity="full", seed=seed, scores={"score": 0.009 - each / 100, "oks": each})
            for seed, each in enumerate(oks)
        ]
        return replace(one, evaluations=(*one.evaluations, *full))

    random = facts_of(trained(trial(0, 0.5, 1.9e8), 0.20, 0.19, 0.21), driver={"kind": "random"})
    record = StudyRecord("made_up", card(), {}, {}, 0.0)
    said = study_facts(record, [trained(trial(0, 0.6, 2e8), 0.22, 0.23, 0.24)], (), rival=random).caveats[0]
    assert ": yes. " in said and "mean OKS because AP is below 0.01" in said and "0.220 to 0.240" in said


def test_a_winner_without_enough_seeds_or_a_like_opponent_is_not_checked() -> None:
    assert "there are 3 and 2; `hrnas retrain` adds them" in verdict((0.71, 0.72, 0.73), (0.68, 0.69))
    assert "there are 0 and 0" in verdict((), (0.68, 0.69, 0.7))
    record, one = StudyRecord("made_up", card(), {}, {}, 0.0), trial(0, 0.6, 2e8)
    dear = facts_of(trial(0, 0.5, 3e8))
    assert (
        "no trial of made_up (driver optuna) costs as little" in study_facts(record, [one], (), rival=dear).caveats[0]
    )
    assert "has no finished trial" in study_facts(record, [one], (), rival=facts_of()).caveats[0]
    other = facts_of(replace(one, evaluations=(evaluation(one.key, 0.5, input="64x64"),)))
    assert "measured otherwise: proxy, 2 epochs, input 64x64" in study_facts(record, [one], (), rival=other).caveats[0]


def test_blind_ap_is_said() -> None:
    blind = [
        trial(n, 0.2, 1e8, evaluations=(evaluation(str(n), 0.2, scores={"score": 0.2, "ap": 0.0}),)) for n in range(3)
    ]
    assert "AP is below 0.01 for 3 of 3 trials" in " ".join(facts_of(*blind).caveats)


def test_the_retrain_command_names_the_pick_and_a_card() -> None:
    drawn = front_table(facts_of(trial(10, 0.4, 1e8)))[0].command
    assert drawn == "hrnas train 'made_up#00000000000a' --trainer proxy_small"
    coco = facts_of(trial(10, 0.4, 1e8), resolved={"recipe": {"data": {"kind": "coco", "root": "my pictures"}}})
    command = front_table(coco, study="runs/x")[0].command
    assert command == "hrnas train 'runs/x#00000000000a' --trainer lite_hrnet_coco --data 'my pictures'"


def test_the_front_is_the_same_as_text_and_as_json() -> None:
    facts = facts_of(trial(0, 0.4, 1e8, title="lite_hrnet_18", origin="published"), trial(1, 0.5, 2e8))
    document = json.loads(json.dumps(front_document(facts), allow_nan=False))
    assert [row["rank"] for row in document["front"]] == [1, 2]
    assert document["front"][1]["macs"] == 100_000_000 and document["front"][1]["title"] == "lite_hrnet_18"
    assert document["setting"]["input"] == "128x96" and document["hypervolume"] > 0
    lines = format_front(facts).splitlines()
    assert lines[1].split()[:4] == ["rank", "key", "title", "score"]
    assert lines[3].split()[:4] == ["2", "000000000000", "lite_hrnet_18", "0.400"]


def test_an_empty_study_is_said_to_be_empty() -> None:
    facts = facts_of()
    assert "no trial has finished" in format_front(facts)
    assert front_document(facts)["front"] == [] and front_table(facts) == () and facts.caveats == ()


def test_a_password_in_the_ledgers_address_is_not_shown() -> None:
    shown = facts_of(ledger="postgresql+psycopg://me:secret@host:5432/studies").card["ledger"]
    assert shown == "postgresql+psycopg://me:***@host:5432/studies"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1_130_769, "1.13M"),
        (198.63e6, "199M"),
        (999_600, "1M"),
        (2e9, "2G"),
        (760_365, "760K"),
        (12, "12"),
        (None, "-"),
    ],
)
def test_costs_in_words(value: float | None, text: str) -> None:
    assert format_cost(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.6, "1 min"), (200, "3 min 20 s"), (3599.7, "1 h"), (4320, "1 h 12 min"), (None, "-")],
)
def test_seconds_in_words(seconds: float | None, text: str) -> None:
    assert format_seconds(seconds) == text


# ---------------------------------------------------------------------------------------------------------------------
# figures


@given(st.floats(1e3, 1e10), st.floats(1.0, 1e4))
def test_an_axis_of_costs_has_some_round_numbers(low: float, ratio: float) -> None:
    places, names = figures._ticks([low, low * ratio])
    assert 2 <= len(places) <= 14 and places == sorted(places)
    assert all(low * 0.93 * 0.999 <= place <= low * ratio * 1.07 * 1.001 for place in places)
    assert len(set(names)) == len(names)


def test_names_keep_clear_of_each_other_and_of_the_edge() -> None:
    places = figures._text_places([(0.5, 0.5, "one_network"), (0.5, 0.53, "another"), (0.99, 0.5, "at_the_edge")], [])
    assert places[0] != places[1]
    assert places[2].endswith("left")


# ---------------------------------------------------------------------------------------------------------------------
# the page


def page_of(folder: Path, **study: Any) -> str:
    return write_report(write_study(folder / "made_up", **study)).read_text()


def without_plotly(page: str) -> str:
    return page.replace(get_plotlyjs(), "")


def test_the_page_is_one_file_that_names_nothing_outside(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert page.count("* plotly.js v") == 1
    ours = without_plotly(page)
    assert re.findall(r"https?:", ours) == []
    assert set(re.findall(r"""\b(?:src|href|action|data)\s*=\s*["']?([^"'> ]*)""", ours)) <= {"data:,"}
    assert re.findall(r"@import|url\(|\bfetch\(|XMLHttpRequest", ours) == []
    assert "default-src 'none'" in ours
    assert "sendChartToCloud" in ours.split('"modeBarButtonsToRemove"')[1][:60]


def test_the_page_holds_what_the_ledger_holds(tmp_path: Path) -> None:
    page = without_plotly(page_of(tmp_path))
    for text in (*PUBLISHED, "the loss became NaN in step 112", "owner host:1 is gone", "2.13.0+cpu", "4500623fd7aa+"):
        assert text in page, text
    assert "Not yet checked" in page and "MACs above 600M" in page and "--trainer</span> <span>proxy_small" in page
    assert "trainer: proxy_small" in page and "batch_size: 16" in page  # the card and its recipe, as YAML
    drawings = json.loads(re.findall(r'id="figures">(.*?)</script>', page, re.S)[0])["figures"]
    assert set(drawings) == {
        "history",
        "progress",
        *(f"front-0-{m}-{c}" for m in ("score", "ap") for c in ("macs", "params")),
    }
    drawn = sum(len(trace["customdata"]) for trace in drawings["front-0-score-macs"]["data"] if "customdata" in trace)
    assert drawn == 38  # all but the one that failed and the one that runs


@pytest.mark.parametrize("study", [{"finished": 0}, {"finished": 1}, {"trials": 1}], ids=str)
def test_an_empty_and_a_one_trial_study_have_a_page(tmp_path: Path, study: dict[str, int]) -> None:
    page = without_plotly(page_of(tmp_path, **study))
    assert ("No trial has finished yet" in page) == (study.get("finished") == 0)
    assert ("plotly" in page.lower()) == (study.get("finished") != 0)


def test_what_cards_say_is_never_markup(tmp_path: Path) -> None:
    page = without_plotly(page_of(tmp_path, title="<script>alert(1)</script><img src=x onerror=alert(2)>"))
    assert "alert(1)" in page
    assert "<script>alert" not in page and "<img" not in page


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_study(tmp_path / "made_up", trials=6)
    before = write_report(folder).read_bytes()
    monkeypatch.setattr("hrnas.report.page.render_page", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(folder)
    assert (folder / "report.html").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir() if "report" in path.name) == ["report.html"]


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no study"):
        write_report(tmp_path / "nothing")


def test_the_report_needs_neither_torch_nor_optuna() -> None:
    code = (
        "import sys, hrnas.report.facts\n"
        "print([name for name in ('torch', 'optuna', 'plotly', 'jinja2', 'pandas') if name in sys.modules])\n"
        "import hrnas.report.page\n"
        "print([name for name in ('torch', 'optuna', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]


# ---------------------------------------------------------------------------------------------------------------------
# the page in a browser

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


def browse(page: Path, folder: Path, width: int = 1400) -> tuple[str, list[str]]:
    """Open a page in headless Chromium: (the document afterwards, what its console says).

    The page's own policy forbids every request, so that whatever it asks of the network is an error in the console.
    """
    assert BROWSER is not None
    quiet = ("gpu", "quic", "background-networking", "component-update", "sync", "default-apps", "extensions")
    done = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--no-first-run",
            *(f"--disable-{thing}" for thing in quiet),
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={width},3000",
            "--virtual-time-budget=8000",
            "--enable-logging=stderr",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE:" in line]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")
class TestInABrowser:
    def test_it_draws_every_figure_says_nothing_and_asks_nobody(self, tmp_path: Path) -> None:
        page = write_report(write_study(tmp_path / "made_up"))
        document, console = browse(page, tmp_path)
        assert console == []
        assert document.count('class="plot js-plotly-plot"') == 6

    def test_folded_figures_are_drawn_when_unfolded_and_tables_sort(self, tmp_path: Path) -> None:
        folder = write_study(tmp_path / "made_up", trials=8)
        again(folder, rung=1)
        page = write_report(folder)
        acts = """<script>
          document.querySelectorAll("details").forEach((one) => { one.open = true; });
          document.querySelector("table.sortable th:nth-child(6) button").click();
          setTimeout(() => {
            const cells = document.querySelectorAll("table.sortable")[0].querySelectorAll("tbody td:nth-child(6)");
            document.title = [...cells].map((cell) => cell.dataset.value).join(" ");
            Plotly.Fx.hover(document.querySelector(".plot"), [{ curveNumber: 2, pointNumber: 0 }]);
          }, 1000);
        </script></body>"""
        page.write_text(page.read_text().replace("</body>", acts))
        document, console = browse(page, tmp_path, width=420)
        assert console == []
        assert document.count('class="plot js-plotly-plot"') == 10  # four of the first rung were folded
        title = re.findall(r"<title>(.*?)</title>", document)[0].split()
        assert len(title) > 1 and [float(value) for value in title] == sorted(map(float, title))
        assert 'class="hovertext"' in document

    def test_an_empty_study_opens_too(self, tmp_path: Path) -> None:
        document, console = browse(write_report(write_study(tmp_path / "made_up", finished=0)), tmp_path)
        assert console == [] and "No trial has finished yet" in document

    @pytest.mark.parametrize("act", ["fetch('https://a.test/x')", "new Image().src = 'https://a.test/y'", "nonsense()"])
    def test_this_test_would_notice(self, tmp_path: Path, act: str) -> None:
        page = write_report(write_study(tmp_path / "made_up", finished=0))
        page.write_text(page.read_text().replace("</body>", f"<script>{act}</script></body>"))
        assert browse(page, tmp_path)[1] != []


def again(folder: Path, rung: int) -> None:
    """Every trial of a study measured once more, on another rung."""
    ledger = Ledger.open(folder / "ledger.sqlite")
    for one in ledger.trials():
        mine = ledger.claim(replace(one.evaluations[0].identity, rung=rung), "host:3")
        assert mine is not None
        scores = one.evaluations[0].scores
        ledger.finish(mine.id, {**scores, "score": scores["score"] + 0.1}, seconds=60.0)
    ledger.close()
