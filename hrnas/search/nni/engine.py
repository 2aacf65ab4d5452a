"""An evaluator that lets NNI run each evaluation as a trial of one experiment."""

from __future__ import annotations

import json
import os
import shlex
import site
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import nni  # noqa: F401  # so that its absence is known before anything is written
import psutil

from hrnas.cards.study import Rung
from hrnas.reading import UserError, write_atomically
from hrnas.search.nni.processes import MARK, PATIENCE, end_marked, is_orphans, make_mark
from hrnas.search.worker import Beat, this_owner
from hrnas.space.architecture import Architecture
from hrnas.space.search_space import SearchSpace

GLANCE = 0.1  # seconds between two looks for an answer


class NniTrials:
    """Evaluate in NNI's trial processes; the experiment begins with the first evaluation, and ends with the `with`.

    Everything of NNI's lies in the run folder, below `nni`: its experiments, and a home of its own, in which it keeps a
    list of them.
    """

    def __init__(
        self,
        name: str,
        space: SearchSpace,
        run: Path,
        count_cost: Callable[[Architecture], Mapping[str, float]],
        say: Callable[[str], None],
    ) -> None:
        self._name, self._space, self._run, self._count_cost, self._say = name, space, run.resolve(), count_cost, say
        self._mark = make_mark(this_owner(), run)
        self._keeper: subprocess.Popen[str] | None = None
        self._jobs = Path()
        self._posted = 0

    def __enter__(self) -> NniTrials:
        if ended := end_marked(lambda mark: is_orphans(mark, self._run)):
            self._say(f"{ended} processes of an NNI experiment of this study, whose search is gone, were ended")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeper is None:
            return
        assert self._keeper.stdin is not None
        with suppress(OSError):  # it is gone
            if kind is None:
                self._keeper.stdin.write("done\n")
            self._keeper.stdin.close()
        try:
            self._keeper.wait(timeout=6 * PATIENCE)
        finally:
            end_marked(lambda mark: mark == self._mark)

    def __call__(
        self, architecture: Architecture, rung: Rung, seed: int, folder: Path, beat: Beat
    ) -> Mapping[str, Any]:
        """Post a job and wait for its answer; see `Evaluator`."""
        if self._keeper is None:
            self._start()
        number = self._posted
        self._posted += 1
        job = {
            "architecture": architecture.tree(),
            "rung": rung.model_dump(mode="json"),
            "seed": seed,
            "folder": str(folder.resolve()),
            "costs": dict(self._count_cost(architecture)),
            "shown": {"job": number, "key": architecture.key, **self._choices(architecture)},
        }
        write_atomically(self._jobs / f"{number}.json", json.dumps(job))
        try:
            answer = self._wait(number, beat)
        except BaseException:
            self._kill(number)
            raise
        if "mistake" in answer:
            raise UserError(answer["mistake"])
        if "error" in answer:
            raise RuntimeError(answer["error"]) from RuntimeError(f"in NNI's trial: {answer.get('trace', 'no trace')}")
        scores: Mapping[str, Any] = answer["scores"]
        return scores

    def _choices(self, architecture: Architecture) -> dict[str, Any]:
        genome = self._space.encode(architecture)
        return {gene.path: _shown(gene.values[i]) for gene, i in zip(self._space.genes, genome, strict=True)}

    def _wait(self, number: int, beat: Beat) -> dict[str, Any]:
        answer, progress = (self._jobs / f"{number}.{what}.json" for what in ("answer", "progress"))
        seen = 0.0
        while not answer.exists():
            assert self._keeper is not None
            if self._keeper.poll() is not None:
                raise UserError(f"NNI's manager ended: {_last_words(self._jobs.parent)}; the same command goes on")
            with suppress(OSError):
                if progress.stat().st_mtime != seen:
                    seen = progress.stat().st_mtime
                    beat(json.loads(progress.read_text(encoding="utf-8")))
            time.sleep(GLANCE)
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return found

    def _kill(self, number: int) -> None:
        """End a trial whose answer nobody awaits."""
        with suppress(OSError, psutil.Error):
            trial = psutil.Process(int((self._jobs / f"{number}.pid").read_text(encoding="utf-8")))
            if trial.environ().get(MARK) == self._mark:
                trial.kill()

    def _start(self) -> None:
        place = self._run / "nni"
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        self._jobs = place / name / "jobs"
        for folder in (self._jobs, place / "home", place / "code"):
            folder.mkdir(parents=True, exist_ok=True)
        here, home = (shlex.quote(str(path)) for path in (Path.cwd(), Path.home()))
        trial = shlex.join([sys.executable, "-m", "hrnas.search.nni.trial", str(self._jobs), str(self._run)])
        said = {
            "id": name,
            "name": self._name,
            "experiments": str(place),
            "space": {
                gene.path: {"_type": "choice", "_value": [_shown(value) for value in gene.values]}
                for gene in self._space.genes
            },
            "command": f"cd {here} && HOME={home} exec {trial}",
            "code": str(place / "code"),
            "jobs": str(self._jobs),
        }
        environment = {
            **os.environ,
            MARK: self._mark,
            "HOME": str(place / "home"),
            "PYTHONUSERBASE": site.getuserbase(),
            "NODE_OPTIONS": f"{os.environ.get('NODE_OPTIONS', '')} --require {json.dumps(str(_PRELOADED))}".strip(),
        }
        with (place / name / "keeper.log").open("w", encoding="utf-8") as log:
            self._keeper = keeper = subprocess.Popen(
                [sys.executable, "-m", "hrnas.search.nni.keeper"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
                start_new_session=True,  # neither Ctrl-C nor a kill of the search's group reaches it
            )
        assert keeper.stdin is not None and keeper.stdout is not None
        keeper.stdin.write(json.dumps(said) + "\n")
        keeper.stdin.flush()
        answer = keeper.stdout.readline()
        if not answer:
            raise UserError(f"NNI's manager did not start: {_last_words(place / name)}")
        told = json.loads(answer)
        self._say(f"NNI's page: http://127.0.0.1:{told['port']} (experiment {name})")
        if told["open_to"]:
            self._say(
                f"warning: NNI's page asks for no password and can be reached from outside, at {told['open_to']}: "
                "close the port with a firewall where others reach this machine"
            )


_PRELOADED = Path(__file__).with_name("manager.js")


def _shown(value: Any) -> Any:
    """A value of a gene as NNI's page can show it."""
    return value if isinstance(value, (int, float, str)) else json.dumps(value)


def _last_words(folder: Path) -> str:
    """Where NNI wrote why, and the last line of it."""
    log = folder / "keeper.log"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    return f"{next((line for line in reversed(lines) if line.strip()), 'no word')} ({log})"
