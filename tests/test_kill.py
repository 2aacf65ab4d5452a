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
    "before news 2",
    "after recover 1",
    "before news 5",
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

TRIALS = 8


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


def wait_for_work(folder: Path, seconds: float) -> Callable[[], bool]:
    """A moment so long after a process wrote its first line into the ledger: it took up what the last one left."""
    ledger = Ledger.open(folder / "ledger.sqlite")
    before = ledger.version()
    began: list[float] = []

    def moment() -> bool:
        if not began and ledger.version() > before:
            began.append(time.monotonic())
        return bool(began) and time.monotonic() > began[0] + seconds

    return moment


@pytest.mark.slow
def test_the_real_search_survives_ten_kills(tmp_path: Path) -> None:
    """Ten moments: the first write, a score that no driver has heard of, and eight at random in the work on a trial."""
    card = write_little_cards(tmp_path)
    command = [sys.executable, "-m", "hrnas", "search", str(card), "--quiet", "--runs"]
    assert run_until([*command, str(tmp_path / "whole")]) == 0
    whole = dict(measured(tmp_path / "whole" / "little"))
    spent = Ledger.open(tmp_path / "whole" / "little" / "ledger.sqlite").evaluations("done")
    a_trial = sum(evaluation.seconds or 0.0 for evaluation in spent) / TRIALS

    folder = tmp_path / "runs" / "little"
    dice = random.Random(0)
    left: list[int] = []

    def kill(moment: Callable[[], bool]) -> None:
        assert run_until([*command, str(tmp_path / "runs")], moment) == -signal.SIGKILL, "it was at work"
        left.extend(running_in(folder))

    kill(lambda: (folder / "ledger.sqlite").exists())
    assert not (folder / "study.yaml").exists() or not Ledger.open(folder / "ledger.sqlite").proposals()

    def is_scored() -> bool:
        try:
            return bool(Ledger.open(folder / "ledger.sqlite").evaluations("done"))
        except UserError:
            return False

    kill(is_scored)
    ledger = Ledger.open(folder / "ledger.sqlite")
    assert len(ledger.proposals()) == len(ledger.evaluations("done")) == 1, "killed before the next ask"

    for _ in range(8):
        kill(wait_for_work(folder, dice.uniform(0, 0.9) * a_trial))

    assert run_until([*command, str(tmp_path / "runs")]) == 0
    check(folder, TRIALS, left)
    again = dict(measured(folder))
    given_up = any(e.state == "failed" for e in ledger.evaluations())
    assert given_up or list(again.items()) == list(whole.items()), "the same trials and scores"
    both = [key for key, scores in again.items() if scores and whole.get(key)]
    assert both and all(again[key] == whole[key] for key in both), "a trial's score does not depend on the kills"
    assert (folder / "report.html").exists()
