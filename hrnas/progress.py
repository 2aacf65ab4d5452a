"""Show how far a search or a training is: a bar in a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Protocol, TextIO

LINE_EVERY = 15.0  # seconds between two plain lines about the same thing


class _Shown:
    """A tqdm bar where somebody watches, lines of text where a file or a program does, nothing when told so."""

    def __init__(self, stream: TextIO, quiet: bool) -> None:
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
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


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


class TrainingProgress(_Shown):
    """Epochs, steps and the loss of one training."""

    def __enter__(self) -> TrainingProgress:
        return self

    def __call__(self, at: Step) -> None:
        """Show where the training stands."""
        done = at.epoch * at.steps + at.step
        title, note = f"epoch {min(at.epoch + 1, at.epochs)}/{at.epochs}", f"loss {at.loss:.4g}"
        if self._watched:
            self._move(title, done, at.epochs * at.steps, note)
        else:
            self._say(f"{title}, step {at.step}/{at.steps}, {note}", now=False)
