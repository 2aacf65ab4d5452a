"""Know the processes of one experiment by a mark in their environment, and end them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from hrnas.search.worker import owner_lives

MARK = "HRNAS_NNI"  # in the environment of the keeper, and so of everything that comes from it
PATIENCE = 10.0  # seconds for a process to end by itself: NNI's manager writes its database then


def make_mark(owner: str, folder: Path) -> str:
    """What marks the processes that `owner` started for a run folder."""
    return f"{owner} {folder.resolve()}"


def is_orphans(mark: str, folder: Path) -> bool:
    """Whether a mark is of this run folder and of an owner that is gone."""
    owner, _, place = mark.partition(" ")
    return place == str(folder.resolve()) and owner_lives(owner) is False


def marked(belongs: Callable[[str], bool]) -> list[psutil.Process]:
    """The processes of this machine with a mark that belongs; not this one."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # those of others, and those that are gone
            mark = process.environ().get(MARK)
            if mark is not None and belongs(mark) and process != psutil.Process():
                found.append(process)
    return found


def end_marked(belongs: Callable[[str], bool]) -> int:
    """End such processes: politely, then by force. Returns how many there were."""
    first = marked(belongs)
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in marked(belongs):
            with suppress(psutil.Error):
                end(process)
        until = time.monotonic() + PATIENCE
        while marked(belongs) and time.monotonic() < until:
            time.sleep(0.1)
    return len(first)
