"""The report says what the ledger says, no more; and its page asks nothing of the network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrnas import pareto
from hrnas.ledger import Evaluation, Identity, Ledger, Proposal, StudyRecord, Trial
from hrnas.report.facts import (
    StudyFacts,
    format_front,
    front_document,
    front_table,
    hypervolume_document,
    staircase,
    study_facts,
)
from hrnas.report.words import format_cost, format_seconds

GOALS = {"score": "maximize", "macs": "minimize"}
PUBLISHED = {
    "lite_hrnet_18": (1_130_769, 198.63e6),
    "lite_hrnet_30": (1_763_717, 309.45e6),
    "naive_lite_hrnet_18": (760_365, 185.52e6),
    "wider_naive_lite_hrnet_18": (1_318_625, 302.33e6),
    "small_hrnet_w16": (1_284_961, 570.70e6),
}


# ---------------------------------------------------------------------------------------------------------------------
# a study that nobody ran


def card(**changes: Any) -> dict[str, Any]:
    plain = {
        "name": "made_up",
        "about": "Forty made-up trials on drawn people.",
        "space": "quickstart",
        "trainer": "proxy_small",
        "data": {"kind": "drawn", "train": 3000, "holdout": 400, "seed": 7},
        "goals": GOALS,
        "reference": {"score": 0.0, "macs": 2e9},
        "limits": {"params": 3_000_000, "macs": 600_000_000},
        "driver": {"kind": "optuna", "sampler": "tpe", "seed": 1},
        "ladder": [{"fidelity": "proxy", "epochs": 2}],
        "trials": 40,
        "published": "first",
    }
    return plain | changes


def tree(rng: np.random.Generator) -> dict[str, Any]:
    width = int(rng.choice([16, 24, 32, 40]))
    row = {"kind": "weighted_shuffle", "kernel": 3, "cross": {"kind": "ccw", "reduction": 8}, "single": {"kind": "se"}}
    stage = {"modules": 2, "blocks": 2, "row": row, "fusion": {"kind": "lite"}, "transition": {"kind": "lite"}}
    return {
        "stem": {"kind": "shuffle", "out": 32},
        "widths": [width * 2**branch for branch in range(4)],
        "stages": [stage | {"modules": int(rng.integers(1, 5))} for _ in range(3)],
        "head": {"kind": "iterative"},
    }


def trial(number: int, score: float, macs: float, **changes: Any) -> Trial:
    key = f"{number:012x}"
    plain = Trial(
        number=number,
        key=key,
        architecture={},
        genome=(number,),
        costs={"macs": macs, "params": macs / 200},
        origin="driver",
        title="",
        evaluations=(evaluation(key, score, finished=float(number)),),
    )
    return replace(plain, **changes)


def evaluation(key: str, score: float, finished: float | None = 0.0, half: float = 0.01, **changes: Any) -> Evaluation:
    identity = {
        "key": key,
        "fidelity": "proxy",
        "rung": 0,
        "input": "128x96",
        "data": "drawn",
        "recipe": "ab",
        "seed": 0,
    }
    identity |= {name: changes.pop(name) for name in list(changes) if name in identity}
    scores = {"score": score, "oks": score, "ap": score / 4, "oks_low": score - half, "oks_high": score + half}
    scores |= {"ap_low": score / 4 - half, "ap_high": score / 4 + half}
    plain = {"attempt": 1, "state": "done", "owner": "me", "heartbeat": 0.0, "reason": "", "started": 0.0}
    plain |= {"id": 1, "scores": scores, "seconds": 30.0, "finished": finished}
    return Evaluation(identity=Identity(**identity), **(plain | changes))


def facts_of(*trials: Trial, proposals: tuple[Proposal, ...] = (), resolved: Any = None, **changes: Any) -> StudyFacts:
    return study_facts(
        StudyRecord("made_up", card(**changes), resolved or {}, {"python": "3.11.2"}, 0.0), trials, proposals
    )


def write_study(folder: Path, trials: int = 40, finished: int | None = None, title: str | None = None) -> Path:
    """A run folder with a real ledger: published points first, then made-up trials, one failed, one broken, one running."""
    rng = np.random.default_rng(0)
    ledger = Ledger.open(folder / "ledger.sqlite", create=True)
    environment = {
        "python": "3.11.2",
        "system": "Linux x86_64",
        "cores": 2,
        "threads": 2,
        "packages": {"hrnas": "0.1.0", "torch": "2.13.0+cpu", "numpy": "2.4.6", "optuna": "5.0.0"},
        "commit": "4500623fd7aa+",
    }
    ledger.create_study(
        card(trials=trials), environment, {"recipe": {"input": "128x96", "epochs": 2, "batch_size": 16}}
    )
    points = list(PUBLISHED.items())
    for number in range(trials):
        name, (params, macs) = points[number] if number < min(len(points), trials) else ("", (0, 0.0))
        if not name:
            macs = float(10 ** rng.uniform(7.7, 8.75))
            params = round(macs / 170 * 10 ** rng.uniform(-0.25, 0.25))
        costs = {"params": params, "macs": round(macs), "params_live": params, "conv_gi": round(macs / 2**30, 4)}
        key = f"{int(rng.integers(2**47)):012x}"
        shown = (title or name) if number == 0 else name
        origin = "published" if name else "driver"
        ledger.propose(
            number * 2, (number,), key, outcome="new", origin=origin, costs=costs, architecture=tree(rng), title=shown
        )
        repeat = ("duplicate", key) if number % 3 else ("infeasible", f"{number:012d}")
        ledger.propose(
            number * 2 + 1,
            (number,),
            repeat[1],
            outcome=repeat[0],  # type: ignore[arg-type]
            origin="driver",
            costs={"params": 2_000_000 + number * 100_000, "macs": 9e8},
        )
        if finished is not None and number >= finished:
            continue
        seeds = (0, 1, 2) if number == 0 else (0,)
        for seed in seeds:
            identity = Identity(key, "proxy", 0, "128x96", "drawn (seed 7, 3000 + 400 persons)", "proxy_small", seed)
            mine = ledger.claim(identity, "host:1")
            assert mine is not None
            if number == 11:
                ledger.fail(mine.id, "the loss became NaN in step 112")
                continue
            if number == 12:
                ledger.recover(lambda _: False)
                mine = ledger.claim(identity, "host:2")
                assert mine is not None
            if number == trials - 1 and finished is None and trials > 10:
                continue  # still running
            score = float(0.30 + 0.11 * np.log10(macs / 5e7) + rng.normal(0, 0.02))
            ap = max(0.0, (score - 0.33) * 0.7)
            ledger.finish(
                mine.id,
                {
                    "score": score,
                    "oks": score,
                    "oks_low": score - 0.012,
                    "oks_high": score + 0.012,
                    "ap": ap,
                    "ap_low": max(0.0, ap - 0.008),
                    "ap_high": ap + 0.008,
                },
                seconds=float(20 + macs / 1e7),
            )
    ledger.close()
    return folder
