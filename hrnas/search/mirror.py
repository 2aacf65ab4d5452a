"""Write a study as Optuna's tools read it: `optuna-dashboard optuna.journal` opens every study, whatever drives it.

The file is a copy of the ledger, written whole after each finished trial and never read back.
"""

from __future__ import annotations

import datetime
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import TrialState, create_trial

from hrnas.ledger import Evaluation, Trial
from hrnas.pareto import goal_value
from hrnas.reading import write_atomically
from hrnas.search.drivers.optuna_driver import Parameters
from hrnas.space.genome import Gene

Goals = Mapping[str, Literal["maximize", "minimize"]]


class _Lines(BaseJournalBackend):
    """A journal in memory, so that the file can be written in one piece."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.logs.extend(logs)


def write_mirror(path: Path, name: str, goals: Goals, genes: Sequence[Gene], trials: Sequence[Trial]) -> None:
    """Write every trial that was measured (complete) or failed; each at the highest rung that it reached."""
    lines = _Lines()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.JournalStorage(lines)
        study = optuna.create_study(study_name=name, storage=storage, directions=[*goals.values()])
        study.set_metric_names([*goals])
    parameters = Parameters(genes)
    for trial in trials:
        searched = (e for e in trial.evaluations if e.state == "failed" and e.identity.fidelity != "full")
        evaluation = trial.final or next(searched, None)
        if evaluation is not None:
            study.add_trial(_optuna_trial(trial, evaluation, goals, parameters))
    write_atomically(path, "".join(f"{json.dumps(log, separators=(',', ':'))}\n" for log in lines.logs))


def _optuna_trial(
    trial: Trial, evaluation: Evaluation, goals: Goals, parameters: Parameters
) -> optuna.trial.FrozenTrial:
    done = evaluation.state == "done"
    plain = {name: value for name, value in evaluation.scores.items() if isinstance(value, (int, float, str))}
    frozen = create_trial(
        state=TrialState.COMPLETE if done else TrialState.FAIL,
        values=[goal_value(goal, trial, evaluation) for goal in goals] if done else None,
        params=parameters.values(trial.genome),
        distributions=parameters.distributions,
        user_attrs={
            "key": trial.key,
            "trial": trial.number,
            "origin": trial.origin,
            **({"title": trial.title} if trial.title else {}),
            **({} if done else {"reason": evaluation.reason}),
            "rung": evaluation.identity.rung,
            **trial.costs,
            **plain,
        },
    )
    frozen.datetime_start = _local(evaluation.started)
    frozen.datetime_complete = _local(evaluation.finished or evaluation.started)
    return frozen


def _local(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds)  # Optuna's times are naive and local
