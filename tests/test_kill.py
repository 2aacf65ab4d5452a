"""`kill -9` at any moment, then the same command: nothing is lost or done twice, and the card's trials are finished.

The fast tests kill a pretended study at exact moments of its bookkeeping; the slow one kills the real `hrnas search` at
ten random ones. Both end in `check`, which reads only the ledger.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from toy_study import KILLED, run_toy, toy_card

from hrnas.ledger import Evaluation, Ledger
from hrnas.reading import UserError, write_yaml

TESTS = Path(__file__).resolve().parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TESTS.parent), "OMP_NUM_THREADS": "1"}


def run_until(command: Sequence[str], moment: Callable[[], bool] | None = None) -> int:
    """Run a command in a process group of its own and kill all of it at a moment; returns the exit status."""
    process = subprocess.Popen(command, env=ENVIRONMENT, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        while moment is not None and process.poll() is None and not moment():
            time.sleep(0.001)
    finally:
        if moment is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait(timeout=600)


def running_in(folder: Path) -> list[int]:
    """The evaluations that are now in nobody's hands."""
    try:
        return [evaluation.id for evaluation in Ledger.open(folder / "ledger.sqlite").evaluations("running")]
    except UserError:  # killed before there was a study
        return []


def check(folder: Path, trials: int, left_running: Sequence[int]) -> None:
    """What must be true of a ledger after any number of kills and a last run to the end.

    Args:
        left_running: the evaluations that were running when a kill came.
    """
    ledger = Ledger.open(folder / "ledger.sqlite")
    found, proposals, evaluations = ledger.trials(), ledger.proposals(), ledger.evaluations()
    finished = [trial for trial in found if any(e.state == "done" and e.identity.rung == 0 for e in trial.evaluations)]
    assert len(finished) == trials, "the card's number of finished trials"

    assert [proposal.number for proposal in proposals] == list(range(len(proposals))), "no proposal is lost"
    assert [p.key for p in proposals if p.outcome == "new"] == [trial.key for trial in found]

    by_identity: dict[object, list[Evaluation]] = {}
    for evaluation in evaluations:
        by_identity.setdefault(evaluation.identity, []).append(evaluation)
    for attempts in by_identity.values():
        assert [attempt.attempt for attempt in attempts] == [1, 2][: len(attempts)], "retried once at most"
        *lost, last = attempts
        assert last.state in ("done", "failed") and all(attempt.state == "broken" for attempt in lost)
        assert all(attempt.reason for attempt in attempts if attempt.state != "done"), "with the reason"

    handed_on = [e.id for e in evaluations if e.state == "broken" or (e.state == "failed" and e.attempt == 2)]
    assert sorted(handed_on) == sorted(left_running), "what a kill broke is recorded, and nothing else"


# ---------------------------------------------------------------------------------------------------------------------
# the pretended study, at exact moments

FIRST = ["before create_study 1", "after create_study 1", "after finish 1"]
MORE = [
    "before propose 1",
    "after propose 1",
    "before claim 1",
    "after claim 1",
    "before finish 1",
    "before proposals 2",
    "after recover 1",
    "before trials 4",
]


def kill_the_toy(folder: Path, moments: Sequence[str]) -> list[int]:
    """Kill the toy study at each of the moments in turn; returns the evaluations that were running then."""
    left: list[int] = []
    for moment in moments:
        status = run_until([sys.executable, str(TESTS / "toy_study.py"), str(folder), moment])
        assert status == -signal.SIGKILL, f"{moment}: it was to be killed"
        left += running_in(folder)
    return left


def steps_of(folder: Path) -> Counter[tuple[str, str]]:
    lines = (folder / "steps.log").read_text().splitlines()
    return Counter((key, step) for key, step, _ in map(str.split, lines))


def measured(folder: Path) -> list[tuple[str, object]]:
    trials = Ledger.open(folder / "ledger.sqlite").trials()
    return [(trial.key, trial.final.scores if trial.final else None) for trial in trials]


def kill_and_compare(folder: Path, moments: Sequence[str]) -> None:
    left = kill_the_toy(folder / "killed", moments)
    assert run_toy(folder / "killed", toy_card(**KILLED)).complete
    check(folder / "killed", KILLED["trials"], left)
    run_toy(folder / "whole", toy_card(**KILLED))
    assert measured(folder / "killed") == measured(folder / "whole"), "as if nothing had happened"
    assert steps_of(folder / "killed") == steps_of(folder / "whole"), "no step of training is taken twice"


def test_a_study_killed_at_its_first_write_and_while_telling_goes_on(tmp_path: Path) -> None:
    kill_and_compare(tmp_path, FIRST)


def test_a_study_killed_in_the_middle_of_a_trial_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, str(TESTS / "toy_study.py"), str(tmp_path)]
    status = run_until(command, lambda: (tmp_path / "steps.log").exists())
    assert status == -signal.SIGKILL
    left = running_in(tmp_path)
    assert len(left) == 1
    assert run_toy(tmp_path, toy_card(**KILLED)).complete
    check(tmp_path, KILLED["trials"], left)
    first, second = Ledger.open(tmp_path / "ledger.sqlite").trials()[0].evaluations
    assert (first.state, second.state) == ("broken", "done") and first.owner in first.reason
    assert max(steps_of(tmp_path).values()) <= 2, "at most the step that was under way is taken again"


@pytest.mark.slow
@pytest.mark.parametrize("moment", MORE)
def test_a_study_killed_at_any_moment_of_its_bookkeeping_goes_on(tmp_path: Path, moment: str) -> None:
    kill_and_compare(tmp_path, [moment])


@pytest.mark.slow
def test_an_evaluation_that_kills_its_owner_twice_is_given_up(tmp_path: Path) -> None:
    left = kill_the_toy(tmp_path, ["after claim 1", "after claim 1"])
    assert run_toy(tmp_path, toy_card(**KILLED)).complete
    check(tmp_path, KILLED["trials"], left)
    broken, failed = Ledger.open(tmp_path / "ledger.sqlite").trials()[0].evaluations
    assert (broken.state, failed.state) == ("broken", "failed") and "broke 2 times" in failed.reason


@pytest.mark.slow
def test_when_one_of_several_workers_is_killed_the_others_do_its_work(tmp_path: Path) -> None:
    command = [sys.executable, str(TESTS / "toy_study.py"), str(tmp_path)]
    doomed = subprocess.Popen([*command, "after claim 1"], env=ENVIRONMENT, start_new_session=True)
    while not (tmp_path / "ledger.sqlite").exists():  # the doomed one comes first, so that it does get work
        time.sleep(0.001)
    others = [subprocess.Popen(command, env=ENVIRONMENT) for _ in range(2)]
    assert [worker.wait(timeout=60) for worker in (doomed, *others)] == [-signal.SIGKILL, 0, 0]
    broken = [e for e in Ledger.open(tmp_path / "ledger.sqlite").evaluations() if e.state == "broken"]
    assert len(broken) == 1
    check(tmp_path, KILLED["trials"], [broken[0].id])
    assert max(steps_of(tmp_path).values()) == 1


# ---------------------------------------------------------------------------------------------------------------------
# the real command, at random moments

TRIALS = 6


def write_little_cards(folder: Path) -> Path:
    """A study that trains for a second or two, on drawn people."""
    trainer = {
        "data": {"kind": "drawn", "train": 96, "holdout": 24, "val": 8},
        "input": "64x64",
        "epochs": 1,
        "batch_size": 8,
        "loss": {"kind": "cross_entropy"},
        "flip_test": False,
        "cache": True,
    }
    study = {
        "name": "little",
        "space": "quickstart",
        "trainer": str(folder / "trainer.yaml"),
        "reference": {"score": 0, "macs": "100M"},
        "driver": {"kind": "optuna", "sampler": "nsga2", "population": 4, "seed": 2},
        "ladder": [{"epochs": 1}],
        "trials": TRIALS,
        "published": "none",
    }
    write_yaml(folder / "trainer.yaml", trainer)
    write_yaml(folder / "little.yaml", study)
    return folder / "little.yaml"


@pytest.mark.slow
def test_the_real_search_survives_ten_kills(tmp_path: Path) -> None:
    """Ten moments: the first write, a telling, and eight drawn at random over the time that a whole run takes."""
    card = write_little_cards(tmp_path)
    command = [sys.executable, "-m", "hrnas", "search", str(card), "--runs"]
    began = time.monotonic()
    assert run_until([*command, str(tmp_path / "whole")]) == 0
    seconds = time.monotonic() - began

    folder = tmp_path / "runs" / "little"
    dice = random.Random(0)

    def first_write() -> bool:
        return (folder / "ledger.sqlite").exists()

    def telling() -> bool:
        try:
            return bool(Ledger.open(folder / "ledger.sqlite").evaluations("done"))
        except UserError:
            return False

    left: list[int] = []
    kills = 0
    for moment in [first_write, telling, *[None] * 8]:
        until = time.monotonic() + dice.uniform(0.1, 0.6) * seconds
        status = run_until([*command, str(tmp_path / "runs")], moment or (lambda until=until: time.monotonic() > until))
        kills += status == -signal.SIGKILL
        left += running_in(folder)
    assert kills >= 5, "most kills found it at work"
    assert run_until([*command, str(tmp_path / "runs")]) == 0
    check(folder, TRIALS, left)
    given_up = any(e.state == "failed" for e in Ledger.open(folder / "ledger.sqlite").evaluations())
    assert given_up or measured(folder) == measured(tmp_path / "whole" / "little"), "the same trials and scores"
    assert (folder / "report.html").exists()
