"""What a person who waits is shown: a bar in a terminal, lines in a file, nothing when told so."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hrnas.cards.study import StudyCard
from hrnas.progress import SearchProgress, TrainingProgress, expected_epochs
from hrnas.reading import validate
from hrnas.search.study import Event
from hrnas.training.loop import Progress


class Terminal(io.StringIO):
    """A stream that somebody watches."""

    def isatty(self) -> bool:
        return True


def make_card(**changes: Any) -> StudyCard:
    """A study of nine trials, three of which go on from 1 to 4 epochs, and one of these to 10."""
    tree = {"name": "shown", "space": "quickstart", "trainer": "proxy_drawn", "trials": 9, "keep": 0.34}
    tree["ladder"] = [{"epochs": 1}, {"epochs": 4}, {"epochs": 10}]
    return validate(StudyCard, tree | changes, "card")


def event(kind: Any, done: int, seconds: float, **more: Any) -> Event:
    return Event(kind, done, 9, front=2, seconds=seconds, **more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder with an empty ledger, as it is when a search says that it starts."""
    from hrnas.ledger import Ledger

    ledger = Ledger.open(tmp_path / "ledger.sqlite", create=True)
    ledger.create_study({"name": "shown"}, {})
    ledger.close()
    return tmp_path


def test_the_epochs_of_a_ladder_are_those_of_each_rung_for_the_share_that_gets_there():
    assert expected_epochs(make_card()) == 9 * 1 + 3 * 3 + 1 * 6
    assert expected_epochs(make_card(ladder=[{"epochs": 5}])) == 9 * 5


def test_lines_tell_scores_the_best_and_the_time_left(folder: Path):
    stream = io.StringIO()
    with SearchProgress(make_card(), folder, stream) as progress:
        progress(event("start", 0, 0.0))
        progress(event("measuring", 0, 0.1, trial=0, key="abc", rung=0))
        progress(event("progress", 0, 0.2, trial=0, key="abc", progress={"epoch": 0, "step": 1}))
        progress(event("finished", 1, 10.0, trial=0, key="abc", rung=0, score=0.25, ap=0.0))
        progress(event("duplicate", 1, 10.0, key="abc"))
        progress(event("failed", 1, 20.0, trial=1, key="def", rung=0, reason="Diverged: loss is nan"))
        progress(event("finished", 2, 20.0, trial=2, key="fed", title="small", rung=0, score=0.125, ap=0.0625))
    lines = stream.getvalue().splitlines()
    assert lines == [
        "shown: getting the data ready",
        "trial 0 (abc), rung 1 of 3: score 0.250, AP 0.000; 1 of 9 finished, best score 0.250, AP 0.000, front 2, "
        "10 s so far, about 3 min 50 s left",  # 24 epochs in all, 23 to go at 10 s each
        "trial 1 (def), rung 1 of 3: failed: Diverged: loss is nan",
        "trial 2 (small), rung 1 of 3: score 0.125, AP 0.062; 2 of 9 finished, best score 0.250, AP 0.000, front 2, "
        "20 s so far, about 3 min 40 s left",
    ]


def test_a_bar_shows_trial_rung_best_score_and_front(folder: Path):
    stream = Terminal()
    with SearchProgress(make_card(), folder, stream) as progress:
        progress(event("start", 0, 0.0))
        progress(event("finished", 1, 10.0, trial=0, key="abc", rung=0, score=0.25, ap=0.0))
        progress(event("progress", 1, 12.0, trial=1, key="def", rung=0, progress={"epoch": 0, "step": 3, "steps": 6}))
    last = stream.getvalue().rstrip().split("\r")[-1]
    assert "1 of 9 finished, trial 1, rung 1 of 3" in last and "best score 0.250, AP 0.000, front 2" in last
    assert "6%" in last  # one and a half of 24 epochs


def test_a_study_without_a_ladder_speaks_of_no_rungs_and_says_for_whom_it_waits(folder: Path):
    stream = io.StringIO()
    with SearchProgress(make_card(ladder=[{"epochs": 2}]), folder, stream) as progress:
        progress(event("start", 0, 0.0))
        progress(event("waiting", 8, 5.0, trial=3, key="abc", reason="far:12 measures it"))
    assert stream.getvalue().splitlines()[1:] == ["trial 3 (abc): waiting: far:12 measures it"]


def test_only_the_studys_own_seed_is_progress(folder: Path):
    from hrnas.ledger import Identity, Ledger

    ledger = Ledger.open(folder / "ledger.sqlite", "shown")
    ledger.propose(0, (0,), "abc", outcome="new", origin="driver", costs={}, architecture={})
    for seed, score in ((0, 0.25), (1, 0.75), (2, 0.5)):
        claim = ledger.claim(Identity("abc", "proxy", 0, "64x64", "drawn", "tiny", seed), "me")
        assert claim is not None and ledger.finish(claim.id, {"score": score, "ap": 0.0}, 1.0)
    ledger.close()
    terminal = Terminal()
    with SearchProgress(make_card(), folder, terminal) as progress:
        progress(event("start", 1, 0.0))
    last = terminal.getvalue().rstrip().split("\r")[-1]
    assert "4%" in last and "best score 0.250" in last  # one of 24 epochs


def test_who_wants_quiet_gets_it(folder: Path):
    for stream in (io.StringIO(), Terminal()):
        with SearchProgress(make_card(), folder, stream, quiet=True) as progress:
            progress(event("start", 0, 0.0))
            progress(event("finished", 1, 10.0, trial=0, key="abc", rung=0, score=0.25, ap=0.0))
        assert stream.getvalue() == ""


def test_a_training_shows_epoch_and_loss():
    stream, terminal = io.StringIO(), Terminal()
    for where in (stream, terminal):
        with TrainingProgress(where) as progress:
            for step in range(1, 5):
                progress(Progress(0, 2, step, 5, 0.5 / step, 0.1, 0.25))
            progress(Progress(1, 2, 5, 5, 0.01, 0.2))
    # and no line more within a quarter of a minute
    assert stream.getvalue() == "epoch 1/2, step 1/5, loss 0.5, 25% waiting for data\n"
    last = terminal.getvalue().rstrip().split("\r")[-1]
    assert "epoch 2/2" in last and "100%" in last and "loss 0.01" in last


def test_a_training_says_how_long_it_will_take_from_what_it_did_since_it_was_gone_on_with(
    monkeypatch: pytest.MonkeyPatch,
):
    """Four seconds a step, after 15 steps of an earlier run; after 19 steps, 81 are left."""
    now, stream = 0.0, io.StringIO()
    monkeypatch.setattr("hrnas.progress.time", SimpleNamespace(monotonic=lambda: now))
    with TrainingProgress(stream) as progress:
        for step in range(1, 7):
            progress(Progress(1, 10, 4 + step, 10, 0.5, now))
            now += 4.0
    first, later = stream.getvalue().splitlines()
    assert first.endswith("waiting for data") and later.startswith("epoch 2/10, step 9/10")
    assert later.endswith(", about 5 min 24 s left")  # 81 times 4 s
