"""Training as processes: several of one torchrun hold the same weights, and SIGTERM ends with a whole checkpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_ranks
import yaml
from workshop import SPACE

from hrnas.cards.trainer import Recipe
from hrnas.reading import UserError, write_yaml
from hrnas.training.checkpoint import load_checkpoint
from hrnas.training.full import train_architecture
from hrnas.training.loop import Stopped, Training
from hrnas.training.ranks import ALONE, Ranks, join_ranks

TESTS = Path(__file__).resolve().parent
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"}


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal, bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes holds after training together."""
    folder = tmp_path_factory.mktemp("together")
    subprocess.run([*TORCHRUN, str(TESTS / "toy_ranks.py"), str(folder)], env=ENVIRONMENT, check=True, timeout=600)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "pose"])
def test_two_processes_hold_the_same_state_bit_for_bit(together: list[dict[str, Any]], kind: str) -> None:
    """Weights, averages, the norms' statistics, the optimiser, the place and the loss."""
    first, second = (found[kind] for found in together)
    assert first["epoch"] == 2 and first["loss"] > 0
    assert same(first, second)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(together: list[dict[str, Any]]) -> None:
    """A network without norms: its gradients are means over persons, so that only the order of additions differs."""
    alone = toy_ranks.train_plain(ALONE).state()
    fresh = toy_ranks.make_plain_net().state_dict()
    for name, weight in together[0]["plain"]["net"].items():
        torch.testing.assert_close(weight, alone["net"][name], rtol=1e-4, atol=1e-6)
        assert torch.equal(weight, fresh[name]) == (name in ("dead", "unheard")), name
    assert together[0]["plain"]["loss"] == pytest.approx(alone["loss"], rel=1e-5)


@pytest.mark.slow
def test_norms_that_see_half_a_batch_make_little_difference(together: list[dict[str, Any]]) -> None:
    alone = toy_ranks.train_pose_net(ALONE).state()
    assert together[0]["pose"]["loss"] == pytest.approx(alone["loss"], rel=0.05)
    assert together[0]["pose"]["loss"] != alone["loss"]


@pytest.mark.slow
def test_all_stop_when_one_is_asked_to_and_go_on_from_the_firsts_checkpoint(together: list[dict[str, Any]]) -> None:
    first, second = (found["stopped"] for found in together)
    assert first["said"] == second["said"] == "stopped in epoch 2 of 2, before step 2"
    assert (first["written"], second["written"]) == (True, False)
    assert first["place"] == second["place"] == (1, 1)
    for found in together:
        assert same(found["stopped"]["resumed"], found["pose"]), "as if nothing had been"


@pytest.mark.slow
def test_two_processes_share_one_supernet_and_leave_out_what_is_not_finite_on_one(
    together: list[dict[str, Any]],
) -> None:
    first, second = (found["shared"] for found in together)
    for name, weight in first["weights"].items():
        if ".residual." not in name:
            assert torch.equal(weight, second["weights"][name]), name
    assert first["skipped"] == second["skipped"] and sum(first["skipped"].values()) == 8  # a network in each step
    assert same(first["optimiser"], second["optimiser"])


@pytest.mark.slow
def test_all_hear_of_the_firsts_mistake(together: list[dict[str, Any]]) -> None:
    assert [found["mistake"] for found in together] == ["a mistake", "a mistake"]


@pytest.mark.slow
def test_all_end_when_one_of_them_diverges(together: list[dict[str, Any]]) -> None:
    assert [found["diverged"] for found in together] == ["the loss is nan in epoch 1, step 1"] * 2


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")  # a cluster's, for programs that are none of ours
    with join_ranks() as ranks:
        assert ranks == ALONE and ranks.leads
        assert ranks.lead(lambda: 3) == 3 and ranks.mean(torch.tensor(2.0)) == 2.0


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"4 processes for 2 GPU\(s\); say --nproc-per-node 2"), join_ranks():
        pass


# ---------------------------------------------------------------------------------------------------------------------
# what cannot be shared

CARD = {
    "data": {"kind": "drawn", "train": 64, "holdout": 8, "val": 16, "seed": 0},
    "input": "64x64",
    "epochs": 3,
    "batch_size": 8,
    "loss": {"kind": "cross_entropy"},
    "optimiser": {"kind": "adam", "rate": 3e-3},
    "schedule": {"kind": "cosine"},
    "start": "scaled",
    "flip_test": False,
    "evaluate_every": 2,
    "ema": 0.99,
    "cache": True,
}


def test_a_batch_that_cannot_be_shared_evenly_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.broadcast_object_list", lambda found: None)
    recipe = Recipe.model_validate({"name": "tiny", **CARD})
    with pytest.raises(UserError, match="batch_size: 8 cannot be shared evenly by 3 processes; see --batch-size"):
        train_architecture(toy_ranks.ARCHITECTURE, recipe, tmp_path, ranks=Ranks(0, 3))
    assert not list(tmp_path.iterdir())


def test_shared_norms_are_refused_where_there_are_no_gpus_to_share_them_and_change_nothing_alone() -> None:
    recipe = toy_ranks.RECIPE.with_changes(sync_norm=True)
    with pytest.raises(UserError, match="sync_norm: processes share batch norms on GPUs only; write sync_norm: false"):
        Training(toy_ranks.make_plain_net(), recipe, ranks=Ranks(0, 2))
    Training(toy_ranks.make_plain_net(), recipe)
    assert recipe.fingerprint != toy_ranks.RECIPE.fingerprint


@pytest.mark.parametrize(
    ("epochs", "said"),
    [(2, "stopped after epoch 2 of 2, before its evaluation"), (3, "stopped in epoch 3 of 3, before step 1")],
)
def test_an_evaluation_that_is_told_to_stop_is_made_when_it_goes_on(epochs: int, said: str, tmp_path: Path) -> None:
    """It begins after two epochs of eight steps."""
    recipe = Recipe.model_validate({"name": "tiny", **CARD, "epochs": epochs})
    steps = 2 * 8

    def stop() -> bool:
        nonlocal steps
        steps -= 1
        return steps < 0

    whole = train_architecture(toy_ranks.ARCHITECTURE, recipe, tmp_path / "whole")
    with pytest.raises(Stopped, match=said):
        train_architecture(toy_ranks.ARCHITECTURE, recipe, tmp_path / "stopped", stop=stop)
    assert not (tmp_path / "stopped" / "result.json").exists()
    assert train_architecture(toy_ranks.ARCHITECTURE, recipe, tmp_path / "stopped") == whole
    logs = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("whole", "stopped")]
    epochs_and_losses = [[line.split(",")[:2] for line in log] for log in logs]
    assert epochs_and_losses[0] == epochs_and_losses[1]


# ---------------------------------------------------------------------------------------------------------------------
# the command


def command(folder: Path, out: Path) -> list[str]:
    write_yaml(folder / "net.yaml", {"architecture": yaml.safe_load(SPACE)["base"]})
    write_yaml(folder / "tiny.yaml", CARD)
    return ["-m", "hrnas", "train", f"{folder}/net.yaml", "--trainer", f"{folder}/tiny.yaml", "--out", str(out)]


@pytest.mark.slow
@pytest.mark.parametrize("program", [(sys.executable,), TORCHRUN], ids=["alone", "torchrun"])
def test_sigterm_stops_at_the_next_step_and_the_same_command_goes_on(program: tuple[str, ...], tmp_path: Path) -> None:
    """As a cluster ends a job: the checkpoint is whole, and in the end nothing tells that there was an end."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    subprocess.run([*program, *command(tmp_path, whole), "--quiet"], env=ENVIRONMENT, check=True, timeout=600)
    process = subprocess.Popen(
        [*program, *command(tmp_path, stopped), "--quiet"], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    while not (stopped / "training.pt").exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=600)
    (line,) = (line for line in told.splitlines() if "ready to resume" in line)
    assert line.startswith("stopped ") and line.endswith(": saved, and ready to resume; say the same again")
    assert load_checkpoint(stopped / "training.pt")["epoch"] < CARD["epochs"] and "Traceback" not in line
    if program != TORCHRUN:  # which has an exit status of its own
        assert process.returncode == 0 and told == line + "\n"
    subprocess.run([*program, *command(tmp_path, stopped), "--quiet"], env=ENVIRONMENT, check=True, timeout=600)
    for name in ("weights.safetensors", "best.safetensors", "result.json"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes(), name
    assert json.loads((whole / "result.json").read_text())["processes"] == (2 if program == TORCHRUN else 1)
    assert same(load_checkpoint(stopped / "training.pt"), load_checkpoint(whole / "training.pt"))


@pytest.mark.slow
def test_another_batch_size_is_said_aloud_with_the_rate_that_goes_with_it(tmp_path: Path) -> None:
    words = [sys.executable, *command(tmp_path, tmp_path / "out"), "--batch-size", "16", "--epochs", "1", "--quiet"]
    done = subprocess.run(words, env=ENVIRONMENT, check=True, timeout=600, capture_output=True, text=True)
    assert done.stderr == "batch size 16 instead of 8: the rate goes with it, 0.006 instead of 0.003\n"
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (result["batch_size"], result["rate"]) == (16, 0.006)
    state = load_checkpoint(tmp_path / "out" / "training.pt")
    assert state["optimiser"]["state"][0]["step"] == 4, "64 persons in batches of 16"
