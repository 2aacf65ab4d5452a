"""NNI's tuners do as NNI's tuners do, rebuilt for every ask; NNI's manager runs a study, and leaves nothing behind."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_kill import ENVIRONMENT, measured, running_in, write_little_cards
from toy_study import run_toy, toy_card, toy_space

from hrnas.ledger import Ledger
from hrnas.reading import UserError
from hrnas.search.drivers import Told, make_driver, seed_of_ask

nni = pytest.importorskip("nni")

from nni.algorithms.hpo.random_tuner import RandomTuner  # noqa: E402
from nni.algorithms.hpo.tpe_tuner import TpeTuner  # noqa: E402

from hrnas.search.drivers.nni_driver import _stepped, reward  # noqa: E402
from hrnas.search.nni.processes import MARK, end_marked, is_orphans, make_mark, marked  # noqa: E402
from hrnas.search.worker import this_owner  # noqa: E402

SPACE = toy_space()
GOALS: Mapping[str, Any] = {"score": "maximize", "macs": "minimize"}


def new_driver(tuner: str, **options: Any) -> Any:
    return make_driver(toy_card(driver={"kind": "nni", "tuner": tuner, **options}), SPACE)


def some_trials(count: int) -> list[Told]:
    """Trials that a driver was told of: good where the first gene is large, and of differing costs."""
    rng = np.random.default_rng(0)
    genomes = dict.fromkeys(SPACE.canonical(SPACE.sample(rng)) for _ in range(4 * count))
    return [
        Told(number, genome, "measured", {"score": genome[0] / 10, "macs": 1e6 * (1 + genome[-1])})
        for number, genome in enumerate([*genomes][:count])
    ]


# ---------------------------------------------------------------------------------------------------------------------
# the tuners in process


def test_a_reward_is_the_scores_less_the_price_of_the_costs() -> None:
    values = {"score": 0.6, "macs": 200e6, "params": 1e6}
    goals = {"score": "maximize", "macs": "minimize", "params": "minimize"}
    weights = {"score": 2.0, "macs": 0.07, "params": 0.5}
    targets = {"macs": 100e6, "params": 2e6}
    assert reward(values, goals, weights, targets) == pytest.approx(1.2 - 0.07 * math.log(2))  # type: ignore[arg-type]
    without = reward(values, goals, weights, {})  # type: ignore[arg-type]
    assert without == pytest.approx(1.2 - 0.07 * math.log(200e6) - 0.5 * math.log(1e6))


def test_a_doubled_cost_is_worth_a_twentieth_of_the_score_by_default() -> None:
    driver = new_driver("tpe")
    for number, (score, macs) in enumerate([(0.5, 1e6), (0.5 + 0.07 * math.log(2), 2e6)]):
        driver.tell(Told(number, (number, 0, 0, 0, 0, 0), "measured", {"score": score, "macs": macs}))
    cheap, dear = driver._rewards().values()
    assert cheap == pytest.approx(dear)


def test_outside_the_limits_is_worse_than_everything_measured() -> None:
    driver = new_driver("tpe")
    for told in some_trials(10):
        driver.tell(told)
    for number, excess in ((10, 0.01), (11, 3.0)):
        driver.tell(Told(number, (number - 10, 1, 1, 1, 1, 1), "infeasible", excess={"macs": excess, "params": -0.5}))
    *measured, near, far = driver._rewards().values()
    assert min(measured) > near > far and near - far == pytest.approx(math.log(4 / 1.01))


def test_tpe_proposes_what_nnis_tpe_proposes() -> None:
    """NNI's own tuner, told the same through its own door for earlier results."""
    choices = {f"stages[{stage}].{what}": {"from": 1, "to": 9} for stage in range(3) for what in ("modules", "blocks")}
    space = toy_space(**{"widths[0]": {"from": 16, "to": 160, "step": 4}, **choices})
    driver = make_driver(toy_card(driver={"kind": "nni", "tuner": "tpe", "startup": 5}), space)
    rng, known = np.random.default_rng(0), []
    for number in range(30):
        values = {"score": float(rng.random()), "macs": 1e6}
        told = Told(number, space.sample(rng), "measured", values)
        driver.tell(told)
        parameter = {gene.path: index for gene, index in zip(space.genes, told.genome, strict=True)}
        known.append({"parameter": parameter, "value": values["score"]})
    for seed in range(3):
        tuner = TpeTuner("maximize", seed, {"n_startup_jobs": 5})
        tuner.update_search_space(_stepped(space.genes))
        tuner.import_data(known)
        expected = tuple(int(value) for value in tuner.generate_parameters(0).values())
        assert driver.ask(seed).genome == space.canonical(expected)


def test_tpe_learns_what_is_good() -> None:
    driver = new_driver("tpe", startup=5)
    for told in some_trials(60):
        driver.tell(told)
    assert np.mean([driver.ask(seed).genome[0] for seed in range(20)]) > 5, "of 0 to 7; by chance 3.5"


def test_the_ends_of_a_stepped_number_come_as_often_as_its_middle() -> None:
    tuner = RandomTuner(0)
    tuner.update_search_space(_stepped(SPACE.genes[:1]))
    tuner.dedup = lambda parameters: parameters
    found = Counter(int(tuner.generate_parameters()["widths[0]"]) for _ in range(4000))
    assert sorted(found) == list(range(8)) and min(found.values()) > 400, found


@pytest.mark.parametrize("tuner", ["evolution", "regularized_evolution"])
def test_a_child_differs_from_one_of_the_living_in_one_gene(tuner: str) -> None:
    driver, trials = new_driver(tuner, population=6, sample=3), some_trials(12)
    for told in trials:
        driver.tell(told)
    living = [told.genome for told in (trials[-6:] if tuner == "regularized_evolution" else trials)]
    for seed in range(20):
        child = driver.ask(seed).genome
        assert min(sum(a != b for a, b in zip(child, parent, strict=True)) for parent in living) == 1


def test_a_population_keeps_its_size_and_its_best() -> None:
    driver, told = new_driver("evolution", population=6), {}
    for number in range(60):
        ask = driver.ask(seed_of_ask(1, number))
        values = {"score": ask.genome[0] / 10, "macs": 1e6}
        told[number] = Told(number, ask.genome, "measured", values, state=ask.state)
        driver.tell(told[number])
    gone = [number for one in told.values() for number in one.state.get("gone", ())]
    assert len(gone) == len(set(gone)) == 60 - 6, "from the seventh on one leaves for each that comes"
    scores = {number: one.values["score"] for number, one in told.items()}
    assert max(scores[number] for number in told.keys() - set(gone)) == max(scores.values())


def test_the_grid_comes_to_its_end_in_words() -> None:
    """A space of eight: all of it is measured once, and the study says why it stops early."""
    space = toy_space(**{"widths[0]": {"from": 16, "to": 44, "step": 4}})
    driver = make_driver(toy_card(driver={"kind": "nni", "tuner": "grid"}), space)
    for number in range(8):
        ask = driver.ask(0)
        assert ask.genome == (number,)
        driver.tell(Told(number, ask.genome, "pending", state=ask.state))
    assert driver.ask(0).genome in {(number,) for number in range(8)}, "then it repeats"


@pytest.mark.parametrize("tuner", ["grid", "tpe"])
def test_a_study_ends_when_the_space_is_exhausted(tuner: str, tmp_path: Path) -> None:
    space = toy_space(**{"widths[0]": {"from": 16, "to": 44, "step": 4}})
    result = run_toy(tmp_path, toy_card(driver={"kind": "nni", "tuner": tuner}, trials=10), space=space)
    assert result.done == 8 and not result.complete and "exhausted" in result.reason


@pytest.mark.parametrize("tuner", ["tpe", "evolution", "regularized_evolution", "random", "grid"])
def test_nobody_elses_dice_are_thrown(tuner: str) -> None:
    driver = new_driver(tuner, population=2, startup=1)
    for told in some_trials(5):
        driver.tell(told)
    before = random.getstate(), np.random.get_state()[1].tolist()
    ask = driver.ask(3)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert json.loads(json.dumps([*ask.genome, ask.state])) == [*ask.genome, ask.state], "plain numbers only"


@pytest.mark.parametrize(
    ("options", "named"),
    [({"weights": {"params": 1}}, "weights.params"), ({"targets": {"score": 0.5}}, "targets.score")],
)
def test_a_price_of_what_is_no_goal_is_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        toy_card(driver={"kind": "nni", **options})


def test_without_nni_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "hrnas.search.drivers.nni_driver")
    monkeypatch.setitem(sys.modules, "nni", None)
    with pytest.raises(UserError, match=r"pip install 'hrnas\[nni\]'"):
        new_driver("tpe")


# ---------------------------------------------------------------------------------------------------------------------
# the pieces of the engine


@pytest.fixture
def sleeper() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    started = []

    def start(mark: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "60"], env={**os.environ, MARK: mark}))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_only_the_orphans_of_this_folder_are_ended(
    sleeper: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    host, pid, start = this_owner().rsplit(":", 2)
    gone = f"{host}:{pid}:{start}0"  # the same number, another process
    orphan = sleeper(make_mark(gone, here))
    others = [sleeper(make_mark(this_owner(), here)), sleeper(make_mark(gone, elsewhere))]
    others.append(sleeper(make_mark(f"another-machine:{pid}:{start}", here)))
    assert end_marked(lambda mark: is_orphans(mark, here)) == 1
    assert orphan.wait(timeout=10) != 0
    assert all(process.poll() is None for process in others)


def test_a_server_of_node_listens_on_loopback_only() -> None:
    import nni_node

    script = Path(sys.modules["hrnas.search"].__path__[0]) / "nni" / "manager.js"
    program = (
        "const s = require('http').createServer().listen(0, () => { console.log(s.address().address); s.close() })"
    )
    command = [str(Path(nni_node.__path__[0]) / "node"), "-e", program]
    for options, address in (("", "::"), (f"--require {json.dumps(str(script))}", "127.0.0.1")):
        done = subprocess.run(command, env={**os.environ, "NODE_OPTIONS": options}, capture_output=True, text=True)
        assert done.stdout.strip() in (address, "0.0.0.0" if address == "::" else address), done.stderr


def test_jobs_go_to_nni_in_order_and_a_silent_end_is_an_answer(tmp_path: Path) -> None:
    from hrnas.search.nni.tuner import PostedJobs

    for number in (0, 1):
        (tmp_path / f"{number}.json").write_text(json.dumps({"shown": {"job": number}}))
    tuner = PostedJobs(str(tmp_path))
    assert [tuner.generate_parameters(parameter_id)["job"] for parameter_id in (7, 9)] == [0, 1]
    (tmp_path / "0.answer.json").write_text("{}")
    tuner.trial_end(7, True)
    tuner.trial_end(9, False)
    assert json.loads((tmp_path / "0.answer.json").read_text()) == {}
    assert "without an answer" in json.loads((tmp_path / "1.answer.json").read_text())["error"]


# ---------------------------------------------------------------------------------------------------------------------
# the whole, with NNI's real manager


def of_folder(folder: Path) -> Callable[[str], bool]:
    return lambda mark: mark.endswith(f" {folder.resolve()}")


def wait_until(moment: Callable[[], bool], seconds: float, process: subprocess.Popen[str] | None = None) -> None:
    until = time.monotonic() + seconds
    while not moment():
        assert time.monotonic() < until, "it takes too long"
        assert process is None or process.poll() is None, "it was to be at work"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_study_run_by_nni_survives_kills_and_leaves_no_process(tmp_path: Path) -> None:
    """Killed: the search; the search and the keeper in the next trial; NNI's manager. Then it goes on to the end."""
    card, runs, home = write_little_cards(tmp_path), tmp_path / "runs", tmp_path / "home"
    home.mkdir()
    folder, environment = runs / "little", {**ENVIRONMENT, "HOME": str(home)}
    command = [sys.executable, "-m", "hrnas", "search", str(card), "--trials", "3", "--quiet", "--runs"]
    assert subprocess.run([*command, str(tmp_path / "whole")], env=ENVIRONMENT).returncode == 0
    through_nni = [*command, str(runs), "--engine", "nni"]

    def kill_in_job(number: int, *victims: str) -> tuple[int, str]:
        """Kill the search, or those of its processes with a word in their command, while a job's trial runs."""
        before = {*folder.glob("nni/*")}
        search = subprocess.Popen(through_nni, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            wait_until(
                lambda: any(p.parents[1] not in before for p in folder.glob(f"nni/*/jobs/{number}.pid")), 600, search
            )
            assert len(running_in(folder)) == 1
            found = marked(of_folder(folder))
            assert len(found) >= 4, "keeper, manager, dispatcher, trial"
            for process in found:
                if any(victim in " ".join(process.cmdline()) for victim in victims):
                    process.kill()
        finally:
            if "main.js" not in victims:
                search.kill()
            said = search.communicate(timeout=120)[1]
        return search.returncode, said

    kill_in_job(0)
    wait_until(lambda: not marked(of_folder(folder)), 60)

    kill_in_job(1, "hrnas.search.nni.keeper")
    assert marked(of_folder(folder)), "nobody is left to end them, until the next search"

    status, said = kill_in_job(0, "main.js")
    assert status == 2 and "were ended" in said and "NNI's manager ended" in said
    assert not marked(of_folder(folder)) and not running_in(folder)

    done = subprocess.run(through_nni, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "http://127.0.0.1:" in done.stderr and "warning" not in done.stderr
    assert not marked(of_folder(folder))
    assert not [*home.iterdir()], "NNI's home is in the run folder"
    assert measured(folder) == measured(tmp_path / "whole" / "little"), "as without NNI and without kills"
    states = [evaluation.state for evaluation in Ledger.open(folder / "ledger.sqlite").evaluations()]
    assert sorted(states) == ["broken", "broken", "done", "done", "done"], "nothing is trained twice but what broke"
    log = max(folder.glob("nni/*/log/nnimanager.log")).read_text()
    assert "to: DONE" in log and "to: STOPPED" in log
