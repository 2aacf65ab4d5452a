"""A study of ten thousand trials goes on within seconds, and its next trial costs what its first one did."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_study import ToyEvaluator, run_toy, toy_card, toy_cost, toy_recipe, toy_score, toy_space

from hrnas.cards.study import StudyCard
from hrnas.ledger import Ledger, _architectures, _evaluations, _proposals
from hrnas.search.standing import Standing
from hrnas.search.study import Event, conditions_of, identity_of, open_study
from hrnas.space.search_space import SearchSpace

LARGE = {"widths[0]": {"from": 16, "to": 44, "step": 4}} | {
    f"stages[{stage}].{what}": {"from": 1, "to": 16} for stage in range(3) for what in ("modules", "blocks")
}


def write_trials(folder: Path, card: StudyCard, space: SearchSpace, count: int) -> None:
    """The first trials of a study, measured, in one transaction: as a search would have written them one by one."""
    ledger = open_study(card, space, toy_recipe(), folder, {})
    rng, conditions, now = np.random.default_rng(7), conditions_of(card, toy_recipe()), time.time()
    found = {}
    while len(found) < count:
        genome = space.sample(rng)
        architecture = space.decode(genome)
        found.setdefault(architecture.key, (genome, architecture))
    rows: dict[Any, list[dict[str, Any]]] = {_proposals: [], _architectures: [], _evaluations: []}
    for number, (key, (genome, architecture)) in enumerate(found.items()):
        score = toy_score(architecture, 1, conditions.seed)
        own = {"study": 1, "number": number, "key": key, "genome": list(genome), "origin": "driver"}
        own["costs"] = toy_cost(architecture)
        rows[_proposals].append({**own, "outcome": "new", "driver_state": {}, "refused": {}})
        rows[_architectures].append({**own, "tree": architecture.tree(), "title": ""})
        ended = {"attempt": 1, "state": "done", "owner": "a:1:b", "heartbeat": now, "reason": "", "seconds": 1.0}
        ended |= {"scores": {"score": score, "ap": score / 4}, "started": now, "finished": now, "study": 1}
        rows[_evaluations].append({**vars(identity_of(card, conditions, key, 0)), **ended})
    with ledger._writing() as (connection, _):
        for table, values in rows.items():
            connection.execute(table.insert(), values)
    ledger.close()


@pytest.mark.slow
def test_ten_thousand_trials_are_resumed_in_ten_seconds_and_gone_on_with_at_fifty_milliseconds_each(
    tmp_path: Path,
) -> None:
    """Seconds of this process: what others do on the machine does not count."""
    space, card = toy_space(**LARGE), toy_card(trials=10_040)
    write_trials(tmp_path, card, space, 10_000)
    moments = [time.process_time()]

    def watch(event: Event) -> None:
        if event.kind == "measuring":
            moments.append(time.process_time())

    (tmp_path / "optuna.journal").write_text("")  # a copy for others was made a moment ago
    assert run_toy(tmp_path, card, ToyEvaluator(), space, watch).complete
    first, *turns = np.diff(moments)
    assert len(turns) == 39 and first < 10 and np.median(turns) < 0.05


def test_a_turn_reads_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    news = Ledger.news

    def counting(*given: Any) -> Any:
        found = news(*given)
        read.append(0 if found is None else len(found.proposals) + len(found.trials) + len(found.evaluations))
        return found

    monkeypatch.setattr(Ledger, "news", counting)
    run_toy(tmp_path, toy_card(trials=20))
    assert max(read) <= 2 and sum(read) == 3 * 20, "a proposal with its trial, then its evaluation"


def test_what_is_known_step_by_step_is_what_the_ledger_says(tmp_path: Path) -> None:
    """Also when a claim is given back, and its number is given to another one."""
    card = toy_card(trials=6, ladder=[{"epochs": 1}, {"epochs": 2}])
    run_toy(tmp_path, card)
    ledger = Ledger.open(tmp_path / "ledger.sqlite")
    conditions = conditions_of(card, toy_recipe())

    def standing() -> Standing:
        return Standing(ledger, card.goals, 2, lambda identity: identity.seed == conditions.seed)

    followed = standing()
    trials = ledger.trials()
    followed.look()
    assert followed.trials == trials and len(followed.done) == 6 and not followed.look()
    one, two = (identity_of(card, replace(conditions, seed=9), t.key, 0) for t in trials[:2])
    first = ledger.claim(one, "a:1:b")
    assert first is not None and followed.look() and followed.trials == ledger.trials()
    ledger.release(first.id)
    second = ledger.claim(two, "a:1:b")
    assert second is not None and second.id == first.id
    assert followed.look() and followed.trials == ledger.trials()
    ledger.release(second.id)
    third = ledger.claim(one, "a:1:b")
    assert third is not None and followed.look() and followed.trials == ledger.trials()
    ledger.finish(third.id, {"score": 0.5, "ap": 0.1}, 1.0)
    assert followed.look() and followed.trials == ledger.trials()
    anew = standing()
    anew.look()
    different = {name for name, value in vars(anew).items() if value != vars(followed)[name]}
    assert different <= {"_is_own", "_best"} and anew.front == followed.front
