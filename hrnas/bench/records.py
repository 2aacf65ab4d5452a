"""Comparisons as files: one line for each run, from which every table and curve is made.

    method,seed,distance,seconds,hypervolumes
    random,0,0.3346,0.48,1:0.0211 4:0.0871 ...      after which evaluation the hypervolume became what

A run whose line is there is not run again: a comparison that was stopped goes on, and one with more methods only adds.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrnas.reading import UserError, write_atomically

__all__ = ["Run", "evaluations_to_reach", "quartiles", "read_runs", "write_runs"]

Floats = NDArray[np.float64]

COLUMNS = ("method", "seed", "distance", "seconds", "hypervolumes")
DIGITS = 4


@dataclass(frozen=True)
class Run:
    """One method with one seed.

    Attributes:
        hypervolumes: (evaluations,), after each, as a share of that of the best known front.
        distance: IGD+ of all that it evaluated to the best known front.
        seconds: CPU time, of proposing and answering.
    """

    method: str
    seed: int
    distance: float
    seconds: float
    hypervolumes: Floats


def quartiles(runs: Sequence[Run]) -> Floats:
    """(3, evaluations): lower quartile, median and upper quartile of the hypervolume over the seeds."""
    return np.quantile([run.hypervolumes for run in runs], (0.25, 0.5, 0.75), axis=0)


def evaluations_to_reach(runs: Sequence[Run], target: float) -> int | None:
    """The first evaluation, counted from 1, after which the median is at least the target; `None`: it stays below."""
    reached = np.flatnonzero(quartiles(runs)[1] >= target)
    return int(reached[0]) + 1 if len(reached) else None


def write_runs(path: Path, runs: Mapping[str, Sequence[Run]], evaluations: int) -> None:
    """Write all runs of a problem, which have so many evaluations each."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*COLUMNS, evaluations))
    for method in runs.values():
        for run in method:
            steps = _steps(run.hypervolumes)
            writer.writerow((run.method, run.seed, f"{run.distance:.{DIGITS}f}", f"{run.seconds:.2f}", steps))
    write_atomically(path, text.getvalue())


def read_runs(path: Path) -> tuple[dict[str, list[Run]], int]:
    """The runs of a problem by method, and how many evaluations each has; nothing and 0 where there is no file.

    Raises:
        UserError: the file is none of these.
    """
    if not path.is_file():
        return {}, 0
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.reader(lines))
    try:
        if tuple(rows[0][:-1]) != COLUMNS:
            raise ValueError(f"its columns are {', '.join(rows[0])}")
        evaluations = int(rows[0][-1])
        runs: dict[str, list[Run]] = {}
        for method, seed, distance, seconds, steps in rows[1:]:
            run = Run(method, int(seed), float(distance), float(seconds), _filled(steps, evaluations))
            runs.setdefault(method, []).append(run)
    except (ValueError, IndexError) as error:
        raise UserError(f"{path}: no file of `hrnas bench`: {error}; say another folder, or remove it") from None
    return runs, evaluations


def _steps(volumes: Floats) -> str:
    rounded = [f"{volume:.{DIGITS}f}" for volume in volumes]
    changes = [place for place in range(len(rounded)) if place == 0 or rounded[place] != rounded[place - 1]]
    return " ".join(f"{place + 1}:{rounded[place]}" for place in changes)


def _filled(steps: str, evaluations: int) -> Floats:
    volumes = np.zeros(evaluations)
    for step in steps.split():
        place, _, volume = step.partition(":")
        volumes[int(place) - 1 :] = float(volume)
    return volumes
