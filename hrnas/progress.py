"""Show how far a search or a training is: a bar in a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from hrnas.cards.study import StudyCard
from hrnas.ledger import Ledger
from hrnas.names import LEDGER_FILE
from hrnas.report.words import format_seconds

if TYPE_CHECKING:
    from hrnas.search.study import Event

LINE_EVERY = 15.0  # seconds between two plain lines about the same thing


class _Shown:
    """A tqdm bar where somebody watches, lines of text where a file or a program does, nothing when told so."""

    def __init__(self, stream: TextIO, quiet: bool = False) -> None:
        self._stream = stream
        self._quiet = quiet
        self._bar: Any = None
        self._last_line = -float("inf")

    @property
    def _watched(self) -> bool:
        return not self._quiet and self._stream.isatty()

    def _move(self, title: str, done: float, total: float, note: str) -> None:
        """Move the bar, if it is one."""
        if not self._watched:
            return
        from tqdm import tqdm

        if self._bar is None:
            layout = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
            self._bar = tqdm(total=total, initial=done, file=self._stream, bar_format=layout, dynamic_ncols=True)
        self._bar.total = total
        self._bar.n = min(done, total)
        self._bar.set_description_str(title, refresh=False)
        self._bar.set_postfix_str(note, refresh=True)

    def _say(self, text: str, now: bool = True) -> None:
        """Print a line: at once, or (`now` false) only when the last one is some seconds old."""
        if self._quiet or (not now and time.monotonic() - self._last_line < LINE_EVERY):
            return
        self._last_line = time.monotonic()
        self.note(text)

    def note(self, text: str) -> None:
        """Print a line, also when told to be quiet."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


class SearchProgress(_Shown):
    """Trials, rungs, the best score so far, the front's size and the time left of one study.

    The bar counts epochs: those that the ladder will train if nothing fails, so that the higher rungs are in the time
    left too.
    """

    def __init__(self, card: StudyCard, folder: Path, stream: TextIO, quiet: bool = False) -> None:
        super().__init__(stream, quiet)
        self._card = card
        self._folder = folder
        self._total = expected_epochs(card)
        self._done = 0.0  # epochs of finished evaluations
        self._found_done = 0.0  # those of them that an earlier run of the same command left
        self._best: tuple[float, float | None] | None = None  # score, AP

    def __enter__(self) -> SearchProgress:
        self._say(f"{self._card.name}: getting the data ready")
        return self

    def __call__(self, event: Event) -> None:
        """Show one event of the search."""
        if event.kind == "start":
            self._find_what_is_done()
            if self._found_done:
                self._say(f"{self._card.name}: going on, {event.done} of {event.total} trials are finished")
        elif event.kind == "finished":
            self._done += self._epochs_of(event.rung)
            self._meet(event.score, event.ap)
            if not self._watched:
                self._say(f"{self._name(event)}: {self._scores(event.score, event.ap)}; {self._standing(event)}")
        elif event.kind in ("failed", "broken", "waiting"):
            self._say(f"{self._name(event)}: {event.kind}: {event.reason}")
        total = self._done + self._left(event)
        self._move(self._title(event), self._done + self._part(event), total, self._note(event))

    def _find_what_is_done(self) -> None:
        ledger = Ledger.open(self._card.ledger or self._folder / LEDGER_FILE, self._card.name)
        try:
            found = [e for trial in ledger.trials() for e in trial.evaluations if e.state == "done"]
        finally:
            ledger.close()
        for evaluation in found:
            if evaluation.identity.seed != self._card.driver.seed or evaluation.identity.fidelity == "full":
                continue  # of `hrnas repeat` or `hrnas retrain`
            self._done += self._epochs_of(evaluation.identity.rung)
            self._meet(evaluation.scores.get("score"), evaluation.scores.get("ap"))
        self._found_done = self._done

    def _epochs_of(self, rung: int) -> int:
        return self._card.epochs_added(rung) if rung < len(self._card.ladder) else 0

    def _meet(self, score: float | None, ap: float | None) -> None:
        if score is not None and (self._best is None or score > self._best[0]):
            self._best = (score, ap)

    def _part(self, event: Event) -> float:
        """The epochs of the evaluation under way that are done, as far as its evaluator says."""
        said = event.progress
        if "epoch" not in said:
            return 0.0
        here = said["epoch"] + said.get("step", 0) / max(said.get("steps", 1), 1)
        added = self._epochs_of(event.rung)
        below = (self._card.ladder[event.rung].epochs or 0) - added
        return float(min(max(here - below, 0.0), added))

    def _name(self, event: Event) -> str:
        who = f"trial {event.trial}" if event.trial >= 0 else event.key  # numbered as on the page
        return f"{who} ({event.title or event.key}){self._rung(event.rung, ', ')}"

    def _rung(self, rung: int, before: str) -> str:
        """`rung 1 of 3`, as the page has it; nothing where there is only one."""
        rungs = len(self._card.ladder)
        return f"{before}rung {rung + 1} of {rungs}" if rungs > 1 else ""

    def _scores(self, score: float | None, ap: float | None) -> str:
        return "no score yet" if score is None else f"score {score:.3f}" + ("" if ap is None else f", AP {ap:.3f}")

    def _left(self, event: Event) -> float:
        """Epochs still to train; where better and better networks come, more of them climb than their share."""
        return max(self._total - self._done, self._total * (1 - event.done / event.total))

    def _title(self, event: Event) -> str:
        now = f", trial {event.trial}{self._rung(event.rung, ', ')}" if event.trial >= 0 else ""
        return f"{event.done} of {event.total} finished{now}"

    def _note(self, event: Event) -> str:
        best = f"best {self._scores(*self._best)}" if self._best else "no score yet"
        return f"{best}, front {event.front}"

    def _standing(self, event: Event) -> str:
        fresh = self._done - self._found_done
        left = event.seconds / fresh * self._left(event) if fresh else None
        return (
            f"{event.done} of {event.total} finished, {self._note(event)}, {format_seconds(event.seconds)} so far"
            + ("" if left is None else f", about {format_seconds(left)} left")
        )


def expected_epochs(card: StudyCard) -> int:
    """The epochs that a study trains if nothing fails: each rung adds its own, to the share that gets so far."""
    count, epochs = card.trials, 0
    for rung in range(len(card.ladder)):
        epochs += count * card.epochs_added(rung)
        count = int(count * card.keep + 1e-9)
    return epochs


class CountProgress(_Shown):
    """How many of so many things are done, and the time left."""

    def __init__(self, things: str, total: int, stream: TextIO, quiet: bool = False) -> None:
        super().__init__(stream, quiet)
        self._things, self._total, self._done = things, total, 0
        self._began = self._last_line = time.monotonic()  # what is quickly done needs no line

    def __enter__(self) -> CountProgress:
        return self

    def __call__(self) -> None:
        """One more is done."""
        self._done += 1
        if self._watched:
            self._move(self._things, self._done, self._total, "")
        else:
            left = (time.monotonic() - self._began) / self._done * (self._total - self._done)
            self._say(f"{self._done} of {self._total} {self._things}, about {format_seconds(left)} left", now=False)


class RankcheckProgress(_Shown):
    """How many measurements of a rank check are done; most of the time goes into the last ones, which train."""

    def __enter__(self) -> RankcheckProgress:
        return self

    def __call__(self, done: int, total: int) -> None:
        """So many are done."""
        self._move("measurements", done, total, "")
        if not self._watched:
            self._say(f"{done} of {total} measurements", now=done in (0, total))


class Step(Protocol):
    """What is read of a training loop's `Progress`."""

    @property
    def epoch(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def waiting(self) -> float: ...


class TrainingProgress(_Shown):
    """Epochs, steps, the loss, how long the network waits for data, and the time left of one training."""

    def __init__(self, stream: TextIO, quiet: bool = False) -> None:
        super().__init__(stream, quiet)
        self._first: tuple[int, float] | None = None  # steps taken, and when, as the first call told it

    def __enter__(self) -> TrainingProgress:
        return self

    def __call__(self, at: Step) -> None:
        """Show where the training stands."""
        done, total, now = at.epoch * at.steps + at.step, at.epochs * at.steps, time.monotonic()
        self._first = self._first or (done, now)
        title = f"epoch {min(at.epoch + 1, at.epochs)}/{at.epochs}"
        note = f"loss {at.loss:.4g}, {at.waiting:.0%} waiting for data"
        if self._watched:
            self._move(title, done, total, note)
        else:
            fresh, seconds = done - self._first[0], now - self._first[1]
            left = f", about {format_seconds(seconds / fresh * (total - done))} left" if fresh > 0 else ""
            self._say(f"{title}, step {at.step}/{at.steps}, {note}{left}", now=False)
