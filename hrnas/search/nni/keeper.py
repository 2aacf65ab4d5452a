"""Hold NNI's experiment, and end it when the search ends: `python -m hrnas.search.nni.keeper`, in a session of its own.

The search says on standard input, in one line of JSON, what to start, and hears the port. As long as its end of the
pipe is open the experiment runs. After `done` the experiment comes to its proper end, which NNI's page then shows; when
the pipe closes without a word (Ctrl-C, `kill -9`), everything ends at once.
"""

from __future__ import annotations

import json
import os
import socket
import time
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path
from select import select
from typing import Any

import nni
import psutil
from nni.experiment import Experiment, ExperimentConfig, launcher
from nni.experiment.config import CustomAlgorithmConfig

from hrnas.search.nni.processes import MARK, end_marked

FIRST_PORT = 8080  # as NNI's own
PATIENCE = 120  # seconds for NNI's manager to begin
LOOK = 2.0  # seconds between two looks at the manager
LAST_LOOK = 30.0  # seconds for NNI to see that the last trial ended


def main() -> None:
    """Start what the first line says, wait for the last, end it."""
    # Both ends of the talk with the search are ours alone: what NNI starts would inherit them; it reads nothing and
    # speaks into the log.
    hear, tell = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    nni.silence_stdout()
    said = json.loads(hear.readline())
    mark = os.environ[MARK]
    # NNI gives its server three seconds to answer, which are too few on a busy machine
    launcher._check_rest_server = partial(launcher._check_rest_server, retry=PATIENCE)
    try:
        experiment = Experiment(_config(said), id=said["id"])
        experiment.start(_free_port())
        assert experiment.port is not None
        told = {"port": experiment.port, "open_to": _listens_to_others(experiment.port)}
        tell.write(json.dumps(told) + "\n")
        tell.flush()
        while not select([hear], [], [], LOOK)[0]:
            if not _is_well(experiment):
                raise RuntimeError("NNI's manager came to a bad end: see nnimanager.log and dispatcher.log")
        if hear.readline() == "done\n":
            with suppress(Exception):  # the results are in the ledger
                _come_to_an_end(experiment)
                experiment.stop()
    except Exception:
        traceback.print_exc()
    finally:
        end_marked(lambda other: other == mark)
        os._exit(0)  # NNI would now look for a manager that is gone


def _config(said: dict[str, Any]) -> ExperimentConfig:
    config = ExperimentConfig("local")
    config.experiment_name = said["name"]
    config.experiment_working_directory = said["experiments"]
    config.search_space = said["space"]
    config.trial_command = said["command"]
    config.trial_code_directory = said["code"]
    config.trial_concurrency = 1
    config.tuner = CustomAlgorithmConfig(
        class_name="hrnas.search.nni.tuner.PostedJobs",
        code_directory=str(Path(__file__).resolve().parents[3]),  # where hrnas is imported from
        class_args={"jobs": said["jobs"]},
    )
    return config


def _free_port() -> int:
    for port in range(FIRST_PORT, FIRST_PORT + 1000):
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("", port))
            return port
    raise RuntimeError(f"no port is free from {FIRST_PORT} on")


def _listens_to_others(port: int) -> str:
    """An address of this machine, other than loopback, that answers at the port; empty when none does."""
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family == socket.AF_INET and not address.address.startswith("127."):
                with suppress(OSError):
                    socket.create_connection((address.address, port), timeout=1).close()
                    return str(address.address)
    return ""


def _is_well(experiment: Experiment) -> bool:
    if experiment._proc.poll() is not None:
        return False
    with suppress(Exception):  # a busy machine answers late
        return bool(experiment.get_status() != "ERROR")
    return True


def _come_to_an_end(experiment: Experiment) -> None:
    """NNI is done when no trial may come and none runs; before that it has not read the last result."""
    experiment.update_max_trial_number(max(1, len(experiment.list_trial_jobs())))
    until = time.monotonic() + LAST_LOOK
    while experiment.get_status() != "DONE" and time.monotonic() < until:
        time.sleep(0.5)


if __name__ == "__main__":
    main()
