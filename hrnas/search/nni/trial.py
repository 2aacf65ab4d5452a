"""One trial of NNI's: run the study's evaluator on a posted job. `python -m hrnas.search.nni.trial JOBS RUN_FOLDER`."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import nni

from hrnas.cards.study import Rung, StudyCard
from hrnas.names import CARD_FILE
from hrnas.reading import UserError, read_yaml, validate, write_atomically
from hrnas.space.architecture import Architecture

TELL = 1.0  # seconds between two words on the progress


def run_job(jobs: Path, run: Path) -> int:
    """Measure what the parameters of this trial name, write the answer, and tell NNI. Returns the exit status."""
    from hrnas.search.launch import make_evaluators, study_recipe

    number = nni.get_next_parameter()["job"]
    write_atomically(jobs / f"{number}.pid", str(os.getpid()))
    told = 0.0

    def beat(progress: dict[str, Any]) -> None:
        nonlocal told
        if time.monotonic() - told > TELL:
            told = time.monotonic()
            write_atomically(jobs / f"{number}.progress.json", json.dumps(progress))

    answer: dict[str, Any]
    try:
        job = json.loads((jobs / f"{number}.json").read_text(encoding="utf-8"))
        card = validate(StudyCard, read_yaml(run / CARD_FILE), str(run / CARD_FILE))
        rung = Rung.model_validate(job["rung"])
        evaluate = make_evaluators(card, study_recipe(card), run)[rung.fidelity]
        architecture = Architecture.from_tree(job["architecture"], source=f"job {number}")
        scores = dict(evaluate(architecture, rung, job["seed"], Path(job["folder"]), beat))
        numbers = {name: value for name, value in scores.items() if isinstance(value, (int, float))}
        nni.report_final_result({"default": scores["score"], **numbers, **job["costs"]})
        answer = {"scores": scores}
    except UserError as error:
        answer = {"mistake": str(error)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
    write_atomically(jobs / f"{number}.answer.json", json.dumps(answer))
    return 0 if "scores" in answer else 1


if __name__ == "__main__":
    sys.exit(run_job(Path(sys.argv[1]), Path(sys.argv[2])))
