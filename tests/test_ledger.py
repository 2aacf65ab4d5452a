"""What the ledger promises: it is the only memory, and it is right whatever happens to the processes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from hrnas.ledger import Identity, Ledger, _metadata
from hrnas.reading import UserError

CARD = {"name": "small", "space": "toy", "driver": {"kind": "random", "seed": 1}, "goals": {"score": "maximize"}}
IDENTITY = Identity(key="a" * 12, fidelity="proxy", rung=0, input="128x96", data="drawn", recipe="quick", seed=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger.open(tmp_path / "ledger.sqlite", create=True)
    ledger.create_study(CARD, {"host": "here"})
    return ledger


def propose_new(ledger: Ledger, number: int, key: str) -> bool:
    return ledger.propose(
        number,
        (number, 0),
        key,
        outcome="new",
        origin="driver",
        costs={"macs": 5},
        architecture={"widths": [16]},
        state={"generation": 0},
    )


def test_what_is_written_is_read_back(ledger: Ledger) -> None:
    assert propose_new(ledger, 0, IDENTITY.key)
    assert ledger.propose(1, (0, 0), IDENTITY.key, outcome="duplicate", origin="driver", costs={})
    evaluation = ledger.claim(IDENTITY, "me")
    assert evaluation is not None and evaluation.state == "running" and evaluation.attempt == 1
    assert ledger.finish(evaluation.id, {"score": 0.5, "ap": 0.0}, seconds=2.5, cpu_seconds=4.5)

    (trial,) = ledger.trials()
    assert (trial.number, trial.key, trial.genome, trial.costs) == (0, IDENTITY.key, (0, 0), {"macs": 5})
    assert trial.architecture == {"widths": [16]}
    assert trial.final == trial.best("proxy") == trial.evaluations[0]
    assert trial.best("full") is None
    assert trial.evaluations[0].identity == IDENTITY
    assert trial.evaluations[0].scores == {"score": 0.5, "ap": 0.0} and trial.evaluations[0].seconds == 2.5
    assert trial.evaluations[0].cpu_seconds == 4.5
    assert [(p.number, p.outcome, p.state) for p in ledger.proposals()] == [
        (0, "new", {"generation": 0}),
        (1, "duplicate", {}),
    ]
    assert [p.number for p in ledger.proposals(start=1)] == [1]


def test_a_ledger_from_before_some_columns_is_read_and_gone_on_with(ledger: Ledger, tmp_path: Path) -> None:
    assert propose_new(ledger, 0, IDENTITY.key)
    old = ledger.claim(IDENTITY, "me")
    assert old is not None and ledger.finish(old.id, {"score": 0.5}, 1.0)
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as file:
        file.execute("ALTER TABLE evaluations DROP COLUMN cpu_seconds")
        file.execute("ALTER TABLE proposals DROP COLUMN refused")
    file.close()
    again = Ledger.open(tmp_path / "ledger.sqlite")
    assert [e.cpu_seconds for e in again.evaluations()] == [None]
    new = again.claim(replace(IDENTITY, seed=2), "me")
    assert new is not None and again.finish(new.id, {"score": 0.6}, 1.0, 2.0)
    assert [e.cpu_seconds for e in again.evaluations()] == [None, 2.0]
    again.propose(1, (0, 0), "b", outcome="infeasible", origin="driver", costs={}, refused={"macs": 3})
    assert [p.refused for p in again.proposals()] == [{}, {"macs": 3}]
    again.close()


def test_an_evaluation_is_claimed_once(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda owner: ledger.claim(IDENTITY, f"owner {owner}"), range(16)))
    assert sum(claim is not None for claim in claims) == 1
    other_seed = replace(IDENTITY, seed=2)
    assert ledger.claim(other_seed, "me") is not None


def test_a_number_and_a_key_are_taken_once(ledger: Ledger) -> None:
    barrier = threading.Barrier(6)

    def race(worker: int) -> bool:
        barrier.wait()
        return propose_new(ledger, 0, f"key {worker}")

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(race, range(6))) == 1
    assert not propose_new(ledger, 1, ledger.trials()[0].key), "the key is taken"
    assert len(ledger.proposals()) == len(ledger.trials()) == 1, "a refused proposal leaves nothing behind"


def test_a_broken_evaluation_is_handed_on_exactly_once(ledger: Ledger) -> None:
    first = ledger.claim(IDENTITY, "first")
    assert first is not None
    assert ledger.recover(lambda evaluation: True) == []
    assert ledger.recover(lambda evaluation: False) == [first]
    assert ledger.recover(lambda evaluation: False) == [], "it is broken once"
    assert not ledger.finish(first.id, {"score": 1.0}, 1.0), "the dead may not write"
    assert not ledger.heartbeat(first.id)

    second = ledger.claim(IDENTITY, "second")
    assert second is not None and second.attempt == 2
    ledger.recover(lambda evaluation: False)
    assert ledger.claim(IDENTITY, "third") is None
    broken, failed = ledger.evaluations()
    assert (broken.state, broken.reason) == ("broken", "its owner first is gone")
    assert (failed.state, failed.reason) == ("failed", "broke 2 times; its owner second is gone")


def test_what_is_done_or_failed_is_not_claimed_again(ledger: Ledger) -> None:
    done, failed = ledger.claim(IDENTITY, "me"), ledger.claim(replace(IDENTITY, seed=2), "me")
    assert done is not None and failed is not None
    ledger.finish(done.id, {"score": 0.1}, 1.0)
    ledger.fail(failed.id, "loss is NaN in step 3")
    assert ledger.claim(IDENTITY, "me") is None
    assert ledger.claim(replace(IDENTITY, seed=2), "me") is None
    assert ledger.evaluations("failed")[0].reason == "loss is NaN in step 3"


def test_a_released_evaluation_costs_no_attempt(ledger: Ledger) -> None:
    claim = ledger.claim(IDENTITY, "me")
    assert claim is not None and ledger.release(claim.id)
    again = ledger.claim(IDENTITY, "me")
    assert again is not None and again.attempt == 1


@pytest.mark.parametrize("score", [float("nan"), float("inf"), {"nested": float("nan")}])
def test_a_score_is_a_finite_number(ledger: Ledger, score: object) -> None:
    claim = ledger.claim(IDENTITY, "me")
    assert claim is not None
    with pytest.raises(ValueError, match="not JSON compliant"):
        ledger.finish(claim.id, {"score": score}, 1.0)
    assert ledger.evaluations()[0].state == "running"


def test_the_version_grows_with_every_change_but_not_with_heartbeats(ledger: Ledger) -> None:
    versions = [ledger.version()]
    propose_new(ledger, 0, IDENTITY.key)
    versions.append(ledger.version())
    claim = ledger.claim(IDENTITY, "me")
    assert claim is not None
    versions.append(ledger.version())
    ledger.finish(claim.id, {"score": 0.5}, 1.0)
    versions.append(ledger.version())
    assert versions == sorted(set(versions))
    other = ledger.claim(replace(IDENTITY, seed=5), "me")
    assert other is not None
    before = ledger.version()
    assert ledger.heartbeat(other.id)
    assert ledger.version() == before


def test_the_same_card_is_the_same_study(ledger: Ledger, tmp_path: Path) -> None:
    propose_new(ledger, 0, IDENTITY.key)
    again = Ledger.open(tmp_path / "ledger.sqlite")
    record = again.create_study(CARD, {"host": "elsewhere"})
    assert record.environment == {"host": "here"}
    assert len(again.trials()) == 1


def test_another_card_of_the_same_name_is_refused_and_the_keys_are_named(ledger: Ledger) -> None:
    other = {**CARD, "driver": {"kind": "random", "seed": 2}, "trials": 9}
    with pytest.raises(UserError, match=r"(?s)'small' exists.*driver\.seed: was 1, now 2.*trials: was absent, now 9"):
        ledger.create_study(other, {})
    with pytest.raises(UserError, match="goals: the order"):
        swapped = {**CARD, "goals": {"macs": "minimize", "score": "maximize"}}
        base = {**CARD, "goals": {"score": "maximize", "macs": "minimize"}, "name": "two"}
        two = Ledger.open(Path(ledger._address).parent / "two.sqlite", create=True)
        two.create_study(base, {})
        two.create_study({**swapped, "name": "two"}, {})
    with pytest.raises(UserError, match=r"base\.stages\[1\]\.blocks: was 2, now 3\n"):
        three = Ledger.open(Path(ledger._address).parent / "three.sqlite", create=True)
        for blocks in (2, 3):
            three.create_study({"name": "three"}, {}, {"base": {"stages": [{"blocks": 2}, {"blocks": blocks}]}})
    with pytest.raises(UserError, match="holds the study 'small', not 'other'"):
        ledger.create_study({**CARD, "name": "other"}, {})
    assert ledger.study().card == CARD


def test_no_ledger_is_a_user_error_and_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no ledger here"):
        Ledger.open(tmp_path / "nothing" / "ledger.sqlite")
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "text").write_text("this is no database, whatever its length may be " * 40)
    with pytest.raises(UserError, match="cannot be opened as a ledger"):
        Ledger.open(tmp_path / "text")
    with pytest.raises(UserError, match="cannot be opened as a ledger"):
        Ledger.open("nosuchdatabase://here/there", create=True)


def test_a_message_never_shows_a_password(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sqlite://me:\*\*\*@here/ledger: cannot be opened as a ledger") as caught:
        Ledger.open("sqlite://me:secret@here/ledger", create=True)
    assert "secret" not in str(caught.value)


def test_an_empty_ledger_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name one study; there are: none"):
        Ledger.open(tmp_path / "ledger.sqlite", create=True).study()


def test_the_tables_can_be_made_on_postgresql() -> None:
    for table in _metadata.sorted_tables:
        text = str(CreateTable(table).compile(dialect=postgresql.dialect()))
        assert "DOUBLE PRECISION" in text or table.name not in ("studies", "evaluations")
        assert "JSON" in text


def test_reading_a_ledger_needs_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys, hrnas.ledger, hrnas.pareto\n"
        "print([m for m in ('torch', 'optuna', 'plotly', 'pandas', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
