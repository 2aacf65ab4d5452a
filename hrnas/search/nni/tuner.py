"""What NNI's dispatcher runs: hand the jobs that the search posts to NNI's manager, in order.

Jobs and answers are files: `0.json`, `1.json`, ... and `0.answer.json`, `1.answer.json`, ... No tuner of NNI's is at
work here: who proposes is the driver of the study's card, in the process of the search.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from nni.tuner import Tuner

from hrnas.reading import write_atomically

GLANCE = 0.1  # seconds between two looks for the next job


class PostedJobs(Tuner):
    """Wait for each job until it is posted."""

    def __init__(self, jobs: str) -> None:
        self._jobs = Path(jobs)
        self._next = 0
        self._numbers: dict[int, int] = {}

    def update_search_space(self, search_space: dict[str, Any]) -> None:
        """The page shows it; the driver has it already."""

    def generate_parameters(self, parameter_id: int, **more: Any) -> dict[str, Any]:
        posted = self._jobs / f"{self._next}.json"
        manager = os.getppid()
        while not posted.exists():
            if os.getppid() != manager:
                os._exit(1)  # NNI waits for this thread before it ends
            time.sleep(GLANCE)
        self._numbers[parameter_id] = self._next
        self._next += 1
        shown: dict[str, Any] = json.loads(posted.read_text(encoding="utf-8"))["shown"]
        return shown

    def receive_trial_result(self, parameter_id: int, parameters: Any, value: Any, **more: Any) -> None:
        """The search has the answer already."""

    def trial_end(self, parameter_id: int, success: bool, **more: Any) -> None:
        answer = self._jobs / f"{self._numbers[parameter_id]}.answer.json"
        if not answer.exists():  # killed: out of memory, or from NNI's page
            write_atomically(answer, json.dumps({"error": "its process ended without an answer"}))
