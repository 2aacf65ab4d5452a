"""A study that takes a second: a real space and a real ledger, an evaluator that only pretends to train.

Run as a program it is what the kill test kills: `python toy_study.py FOLDER [MOMENT TO DIE AT]`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from hrnas.cards.study import Rung, StudyCard
from hrnas.cards.trainer import DrawnData, Recipe
from hrnas.ledger import Ledger
from hrnas.search.study import Event, Result, run_study
from hrnas.space.architecture import Architecture
from hrnas.space.search_space import SearchSpace, SpaceCard, space_from_card

STEPS = 4  # of pretended training to an epoch


def toy_space(**choices: Any) -> SearchSpace:
    """384 networks, two numbers and two kinds, or those of other choices."""
    return _space_of(json.dumps(choices))


@cache
def _space_of(choices: str) -> SearchSpace:
    usual = {
        "widths[0]": {"from": 16, "to": 44, "step": 4},
        "stages[*].modules": {"ordered": [1, 2]},
        "stages[all].row.kind": ["shuffle", "residual"],
        "stages[2].blocks": {"from": 1, "to": 3},
    }
    card = {"name": "toy", "base": "published/naive_lite_hrnet_18", "choices": json.loads(choices) or usual}
    return space_from_card(SpaceCard.model_validate(card), "toy.yaml")


def toy_card(**changes: Any) -> StudyCard:
    """A study of the toy space; by default random, one rung, ten trials."""
    card = {
        "name": "toy",
        "space": "toy",
        "trainer": "toy",
        "reference": {"score": 0.0, "macs": 10**6},
        "driver": {"kind": "random", "seed": 1},
        "ladder": [{"epochs": 1}],
        "trials": 10,
        "published": "none",
    }
    return StudyCard.model_validate({**card, **changes})


def toy_recipe() -> Recipe:
    return Recipe(name="toy", data=DrawnData(kind="drawn"), input=(128, 96), epochs=1, batch_size=8)


def toy_cost(architecture: Architecture) -> dict[str, float]:
    """Grows with everything that makes a network larger."""
    size = sum(stage.modules * stage.blocks for stage in architecture.stages) * architecture.widths[0]
    return {"macs": 1000 * size, "params": 10 * size}


def toy_score(architecture: Architecture, epochs: int, seed: int) -> float:
    """Better when larger and when trained longer, with some luck that depends on the network and the seed only."""
    luck = int(hashlib.sha256(f"{architecture.key} {seed}".encode()).hexdigest()[:8], 16) / 16**8
    size = toy_cost(architecture)["macs"] / 10**6
    return size / (size + 0.3) * (1 - 0.5**epochs) * (0.8 + 0.2 * luck)


class ToyEvaluator:
    """Pretends to train: a checkpoint after each step, and a line in `done.log` for each step that was really taken."""

    def __init__(self, pause: float = 0.0, hook: Callable[[str, int], None] = lambda key, epoch: None) -> None:
        self.pause = pause
        self.hook = hook
        self.calls: list[tuple[str, int, int]] = []

    def __call__(
        self, architecture: Architecture, rung: Rung, seed: int, folder: Path, beat: Callable[[dict[str, Any]], None]
    ) -> dict[str, object]:
        epochs = rung.epochs or 0
        self.calls.append((architecture.key, epochs, seed))
        self.hook(architecture.key, epochs)
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = folder / f"step-seed{seed}"
        done = int(checkpoint.read_text()) if checkpoint.exists() else 0
        for step in range(done, STEPS * epochs):
            time.sleep(self.pause)
            beat({"step": step})
            _append(folder.parent.parent / "steps.log", f"{architecture.key} {step} {os.getpid()}\n")
            partial = folder / f"step.{os.getpid()}"
            partial.write_text(str(step + 1))
            partial.replace(checkpoint)
        score = toy_score(architecture, epochs, seed)
        return {"score": score, "ap": score / 4}


def _append(path: Path, line: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, line.encode())
    os.close(handle)


def run_toy(
    folder: Path,
    card: StudyCard | None = None,
    evaluator: Any = None,
    space: SearchSpace | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    **more: Any,
) -> Result:
    """Run the toy study."""
    more.setdefault("recipe", toy_recipe())
    return run_study(
        card or toy_card(),
        space or toy_space(),
        folder,
        more.pop("evaluators", None) or {"proxy": evaluator or ToyEvaluator()},
        more.pop("count_cost", toy_cost),
        on_event,
        **more,
    )


def die_at(moment: str) -> None:
    """Kill the process group at a moment such as `after finish 2`: when the ledger's second `finish` has returned."""
    when, name, count = moment.split()
    calls = itertools.count(1)
    method = getattr(Ledger, name)

    def last_words(*arguments: Any, **more: Any) -> Any:
        here = next(calls) == int(count)
        if here and when == "before":
            os.killpg(0, signal.SIGKILL)
        value = method(*arguments, **more)
        if here:
            os.killpg(0, signal.SIGKILL)
        return value

    setattr(Ledger, name, last_words)


KILLED = {"trials": 6, "driver": {"kind": "optuna", "sampler": "nsga2", "population": 3, "seed": 3}}


if __name__ == "__main__":
    if len(sys.argv) > 2:
        die_at(sys.argv[2])
    run_toy(Path(sys.argv[1]), toy_card(**KILLED), ToyEvaluator(pause=0.01))
