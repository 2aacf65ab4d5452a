"""Measure one claimed evaluation: show that its owner lives, and write down how it ended."""

from __future__ import annotations

import math
import os
import platform
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from hrnas.cards.study import MEASURES, SCORES, Rung
from hrnas.ledger import Evaluation, Ledger
from hrnas.reading import UserError
from hrnas.space.architecture import Architecture

HEARTBEAT = 20.0  # seconds between two signs of life
GRACE = 60.0  # seconds beyond its time limit after which an evaluation that cannot be interrupted is given up
SILENCE = 600.0  # seconds without one after which an owner on another machine counts as dead

Beat = Callable[[dict[str, Any]], None]
End = Literal["done", "failed", "handed on"]


class Evaluator(Protocol):
    """Measure an architecture on a rung and return its scores: at least `score` and `ap`, both in 0..1.

    A rung of fidelity `cost` or `zero_cost` has no `ap`, and any finite `score`: larger is better.

    Args:
        folder: where this architecture's checkpoint lies; the same for every rung and every attempt, so that a higher
            rung and a second attempt go on from what is there.
        beat: to be called now and then with the progress so far; it raises when the evaluation was handed on.
    """

    def __call__(
        self, architecture: Architecture, rung: Rung, seed: int, folder: Path, beat: Beat
    ) -> Mapping[str, Any]: ...


class TimeUp(Exception):
    """The evaluation took longer than its study allows."""


class HandedOn(Exception):
    """Somebody took this evaluation over, because its owner showed no sign of life for too long."""


def measure(
    ledger: Ledger,
    claim: Evaluation,
    architecture: Architecture,
    rung: Rung,
    evaluator: Evaluator,
    folder: Path,
    on_progress: Beat,
    time_limit: float | None = None,
) -> End:
    """Run the evaluator on a claim and write its end into the ledger; an exception is the evaluation's failure.

    Args:
        time_limit: in seconds; an evaluation that takes longer has failed.
    """

    def work(beat: Beat) -> Mapping[str, Any]:
        scores = evaluator(architecture, rung, claim.identity.seed, folder, beat)
        _check(scores, rung)
        return scores

    return carry_out(ledger, claim, work, folder, on_progress, time_limit=time_limit)


def carry_out(
    ledger: Ledger,
    claim: Evaluation,
    work: Callable[[Beat], Mapping[str, Any]],
    folder: Path,
    on_progress: Beat,
    failure: type[Exception] = Exception,
    time_limit: float | None = None,
) -> End:
    """Do what was claimed, and write its scores or its failure into the ledger.

    A user's mistake, an interruption and whatever is no `failure` are not its end: then the claim is given back as if
    it had never been made.
    """
    began, cpu_began = time.monotonic(), time.process_time()

    def spent() -> tuple[float, float]:
        return time.monotonic() - began, time.process_time() - cpu_began

    try:
        with _signs_of_life(ledger, claim.id, time_limit) as lost, _interrupted_after(time_limit):

            def beat(progress: dict[str, Any]) -> None:
                if lost.is_set():
                    raise HandedOn
                if time_limit is not None and time.monotonic() - began > time_limit:
                    raise TimeUp(_too_long(time_limit))
                on_progress(progress)

            scores = work(beat)
        return "done" if ledger.finish(claim.id, scores, *spent()) else "handed on"
    except HandedOn:
        return "handed on"
    except UserError:
        ledger.release(claim.id)
        raise
    except failure as error:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "failure.txt").write_text(traceback.format_exc(), encoding="utf-8")
        return "failed" if ledger.fail(claim.id, _reason(error), *spent()) else "handed on"
    except BaseException:  # Ctrl-C, a polite end of the process
        ledger.release(claim.id)
        raise


def _check(scores: Mapping[str, Any], rung: Rung) -> None:
    if rung.fidelity in MEASURES:
        score = scores.get("score")
        if not isinstance(score, (int, float)) or not math.isfinite(score):
            raise ValueError(f"the evaluator returned no finite score (got {score})")
        return
    for name in SCORES:
        if not isinstance(scores.get(name), (int, float)) or not 0 <= scores[name] <= 1:
            raise ValueError(f"the evaluator returned no {name} in 0..1 (got {scores.get(name)})")


def _reason(error: Exception) -> str:
    """Why an evaluation failed, in words that are the same for the same cause."""
    if isinstance(error, TimeUp):
        return str(error)
    no_memory = "out of memory" in str(error) or "can't allocate memory" in str(error)  # torch on a GPU, on a CPU
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and no_memory):
        return f"out of memory: {error}".rstrip(": ")
    return f"{type(error).__name__}: {error}"


def _too_long(time_limit: float) -> str:
    return f"took longer than its time limit of {time_limit:g} s"


@contextmanager
def _interrupted_after(seconds: float | None) -> Iterator[None]:
    """Raise `TimeUp` in the midst of what is done inside, once it takes too long.

    Signals reach the main thread alone, and no call of C that never ends; `beat` and `_signs_of_life` see to the rest.
    """
    main = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    if seconds is None or not main:
        yield
        return

    def ring(*_: object) -> None:
        raise TimeUp(_too_long(seconds))

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _signs_of_life(ledger: Ledger, evaluation: int, time_limit: float | None) -> Iterator[threading.Event]:
    """Beat in the background; the event is set when the evaluation is not ours any more.

    One that cannot be interrupted is given up here, so that other workers need not wait for it.
    """
    lost, done = threading.Event(), threading.Event()
    end = math.inf if time_limit is None else time.monotonic() + time_limit + GRACE

    def live() -> None:
        while not done.wait(min(HEARTBEAT, max(end - time.monotonic(), 0.0))):
            if time.monotonic() >= end and time_limit is not None:
                ledger.fail(evaluation, f"{_too_long(time_limit)} and cannot be interrupted")
            if not ledger.heartbeat(evaluation):
                lost.set()
                return

    thread = threading.Thread(target=live, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        done.set()
        thread.join()


# ---------------------------------------------------------------------------------------------------------------------
# owners


def this_owner() -> str:
    """This process, told apart from every other one that ever had its number: `host:pid:start`."""
    return f"{platform.node()}:{os.getpid()}:{_process_start(os.getpid())}"


def is_alive(evaluation: Evaluation) -> bool:
    """Whether the owner of a running evaluation lives: on this machine by asking, on another by its heartbeat."""
    lives = owner_lives(evaluation.owner)
    return time.time() - evaluation.heartbeat < SILENCE if lives is None else lives


def owner_lives(owner: str) -> bool | None:
    """Whether an owner lives; `None` for one on another machine."""
    host, pid, start = owner.rsplit(":", 2)
    return None if host != platform.node() else _process_start(int(pid)) == start


def _process_start(pid: int) -> str | None:
    """When a process began, in the system's own words; `None` when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None if Path("/proc/self/stat").exists() else _process_start_elsewhere(pid)
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # some containers hide it
        boot = ""
    fields = stat.rpartition(")")[2].split()  # proc(5), from the third field on: state, ...
    return None if fields[0] in "ZX" else f"{boot[:8]}-{fields[19]}"  # field 22: ticks since boot


def _process_start_elsewhere(pid: int) -> str | None:
    """The same on systems without /proc."""
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip().replace(":", ".") or None
