"""Proxy and full training as a whole: what was stopped goes on, nothing goes on from another's checkpoint, and scores
stand on the people that they say."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from io import StringIO
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from workshop import SPACE

from hrnas.cards.study import Rung
from hrnas.cards.trainer import Recipe
from hrnas.pose.coco import People
from hrnas.pose.crops import open_pictures
from hrnas.pose.drawn import draw_people
from hrnas.reading import UserError
from hrnas.space.architecture import Architecture
from hrnas.training.checkpoint import load_checkpoint
from hrnas.training.evaluation import predict_people, score_people
from hrnas.training.full import train_architecture
from hrnas.training.loop import Progress, Training, check_amp
from hrnas.training.proxy import ProxyTrainer, make_net, training_identity
from hrnas.training.sources import load_sources

CPU = torch.device("cpu")
TREE = yaml.safe_load(SPACE)["base"]
ARCHITECTURE = Architecture.from_tree(TREE)
LADDER = (Rung(epochs=1), Rung(epochs=2))
STEPS = 2  # of an epoch


def recipe(**changes: Any) -> Recipe:
    """Two epochs of two steps, evaluated after each."""
    tree = {
        "name": "tiny",
        "data": {"kind": "drawn", "train": 16, "holdout": 8, "val": 10, "seed": 0},
        "input": "64x64",
        "epochs": 2,
        "batch_size": 8,
        "loss": {"kind": "cross_entropy"},
        "optimiser": {"rate": 3e-3},
        "schedule": {"kind": "cosine"},
        "flip_test": False,
        "evaluate_every": 1,
        "cache": True,
    }
    return Recipe.model_validate(tree | changes)


class Steps(list[tuple[int, int]]):
    """Which steps were taken: (epoch, step)."""

    def beat(self, progress: dict[str, Any]) -> None:
        self.append((progress["epoch"], progress["step"]))

    def on_progress(self, progress: Progress) -> None:
        self.append((progress.epoch, progress.step))


def steps_of(*epochs: int) -> list[tuple[int, int]]:
    return [(epoch, step) for epoch in epochs for step in range(1, STEPS + 1)]


def proxy(steps: Steps, folder: Path, rung: int = 1, card: Recipe | None = None, ladder: Any = LADDER) -> Any:
    return ProxyTrainer(card or recipe(), ladder)(ARCHITECTURE, ladder[rung], 3, folder, steps.beat)


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The scores of both rungs, without a stop."""
    folder, steps = tmp_path_factory.mktemp("climbed"), Steps()
    scores = [proxy(steps, folder, rung) for rung in (0, 1)]
    assert steps == steps_of(0, 1), "a rung goes on from the rung below"
    return scores


class Stopped(Exception):
    pass


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Save after every step, and stop for good when so many checkpoints are written."""
    saved, save = 0, Training.save
    limit = 10**9

    def save_and_stop(self: Training, path: Path) -> None:
        nonlocal saved
        save(self, path)
        saved += 1
        if saved == limit:
            raise Stopped

    def set_limit(number: int) -> None:
        nonlocal limit
        limit = saved + number

    minutes = count(step=100)
    monkeypatch.setattr("hrnas.training.loop.time", SimpleNamespace(monotonic=lambda: float(next(minutes))))
    monkeypatch.setattr(Training, "save", save_and_stop)
    return set_limit


# inside the first epoch, at its last step, at its end, inside the second epoch
MOMENTS = [1, STEPS, STEPS + 1, STEPS + 2]


# ---------------------------------------------------------------------------------------------------------------------
# proxies


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_stopped_proxy_goes_on_and_takes_each_step_once(
    moment: int, stop_after: Callable[[int], None], climbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    steps, reached = Steps(), 0 if moment <= STEPS + 1 else 1
    stop_after(moment)
    with pytest.raises(Stopped):
        for rung in (0, 1):
            proxy(steps, tmp_path, rung)
    torch.manual_seed(99)  # whatever else the new process did
    assert [proxy(steps, tmp_path, rung) for rung in range(reached, 2)] == climbed[reached:]
    assert steps == steps_of(0, 1)


def test_a_proxy_stopped_at_its_evaluation_ends_with_the_same_scores(
    monkeypatch: pytest.MonkeyPatch, climbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    def stop(*_: object) -> None:
        raise Stopped

    steps = Steps()
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("hrnas.training.proxy.score_people", stop)
        proxy(steps, tmp_path, rung=0)
    assert proxy(steps, tmp_path, rung=0) == climbed[0]
    assert steps == steps_of(0) and climbed[0]["loss"] > 0


def test_a_rung_goes_on_from_the_rung_below(climbed: list[dict[str, Any]], tmp_path: Path) -> None:
    low, high = climbed
    assert (low["epochs"], high["epochs"]) == (1, 2) and low["loss"] != high["loss"]
    steps = Steps()
    proxy(steps, tmp_path, rung=0)
    assert proxy(steps, tmp_path, rung=1) == high and steps == steps_of(0, 1)
    assert proxy(steps, tmp_path, rung=0) == low, "a lower rung is not scored with a higher one's weights"


OTHERS: dict[str, dict[str, Any]] = {
    "recipe": {"card": recipe(optimiser={"rate": 1e-2})},
    "data": {"card": recipe(data={"kind": "drawn", "train": 16, "holdout": 8, "val": 10, "seed": 1})},
    "input": {"card": recipe(input="64x96")},
    "ladder": {"ladder": (Rung(epochs=1), Rung(epochs=3))},
}


IDENTITY = {**training_identity(ARCHITECTURE, recipe(), seed=3, persons=16), "ladder": "1 2"}


@pytest.mark.parametrize("name", OTHERS)
def test_a_proxy_does_not_go_on_from_another_ones_checkpoint(name: str, tmp_path: Path) -> None:
    fresh = proxy(Steps(), tmp_path / "fresh", rung=0, **OTHERS[name])
    (tmp_path / "stale").mkdir()
    Training(make_net(ARCHITECTURE, 17, recipe(), 5), recipe(), CPU, IDENTITY).save(
        tmp_path / "stale/training-seed3.pt"
    )
    steps = Steps()
    assert proxy(steps, tmp_path / "stale", rung=0, **OTHERS[name]) == fresh
    assert steps == steps_of(0)
    new = load_checkpoint(tmp_path / "stale/training-seed3.pt")["identity"]
    assert {key for key in new if new[key] != IDENTITY[key]} == {name}, "the stale file is replaced"


def test_a_checkpoint_that_does_not_say_whose_it_is_is_not_trusted(
    climbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    Training(make_net(ARCHITECTURE, 17, recipe(), 5), recipe()).save(tmp_path / "training-seed3.pt")
    assert proxy(Steps(), tmp_path, rung=0) == climbed[0]


# ---------------------------------------------------------------------------------------------------------------------
# full training


def read_folder(folder: Path) -> dict[str, Any]:
    """Every file of a trained folder, without how long it took."""
    log = [dict(line, seconds="") for line in csv.DictReader(StringIO((folder / "log.csv").read_text()))]
    rest = {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in ("log.csv", "training.pt")}
    return {"log.csv": log, **rest}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny card was trained without a stop."""
    folder = tmp_path_factory.mktemp("trained")
    steps = Steps()
    train_architecture(ARCHITECTURE, recipe(), folder, 3, steps.on_progress)
    assert steps == steps_of(0, 1)
    return folder


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_stopped_training_goes_on_and_takes_each_step_once(
    moment: int, stop_after: Callable[[int], None], trained: Path, tmp_path: Path
) -> None:
    steps = Steps()
    stop_after(moment)
    with pytest.raises(Stopped):
        train_architecture(ARCHITECTURE, recipe(), tmp_path, 3, steps.on_progress)
    torch.manual_seed(99)
    result = train_architecture(ARCHITECTURE, recipe(), tmp_path, 3, steps.on_progress)
    assert steps == steps_of(0, 1)
    assert result == json.loads((trained / "result.json").read_text())
    assert read_folder(tmp_path) == read_folder(trained)


@pytest.mark.parametrize(
    ("name", "epoch"),
    [
        ("weights.safetensors", 1),
        ("best.safetensors", 2),
        ("result.json", 1),
        ("result.json", 2),
        ("log.csv", 1),
        ("log.csv", 2),
    ],
)
def test_a_training_stopped_between_two_files_writes_all_of_them_again(
    name: str, epoch: int, monkeypatch: pytest.MonkeyPatch, trained: Path, tmp_path: Path
) -> None:
    from hrnas.training import full

    write, written = full.write_atomically, 0

    def write_or_stop(path: Path, content: str | bytes) -> None:
        nonlocal written
        written += path.name == name
        if path.name == name and written == epoch:
            raise Stopped
        write(path, content)

    steps = Steps()
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(full, "write_atomically", write_or_stop)
        train_architecture(ARCHITECTURE, recipe(), tmp_path, 3, steps.on_progress)
    train_architecture(ARCHITECTURE, recipe(), tmp_path, 3, steps.on_progress)
    assert read_folder(tmp_path) == read_folder(trained) and steps == steps_of(0, 1)


def test_a_finished_training_is_not_done_again(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_folder(trained)
    monkeypatch.setattr("hrnas.training.full.score_people", lambda *_: pytest.fail("measured again"))
    steps = Steps()
    result = train_architecture(ARCHITECTURE, recipe(), trained, 3, steps.on_progress)
    assert not steps and result == json.loads(before["result.json"]) and read_folder(trained) == before


def test_a_training_does_not_go_on_from_another_ones_checkpoint(trained: Path, tmp_path: Path) -> None:
    stale = tmp_path / "training.pt"
    stale.write_bytes((trained / "training.pt").read_bytes())
    with pytest.raises(UserError, match=r"training\.pt: .* another training \(seed: there 3, here 4\)"):
        train_architecture(ARCHITECTURE, recipe(), tmp_path, 4)
    assert list(tmp_path.iterdir()) == [stale], "nothing was written"


def test_full_training_is_judged_by_ap(trained: Path) -> None:
    result = json.loads((trained / "result.json").read_text())
    assert result["score"] == result["ap"] != result["oks"] > 0
    assert (result["persons_train"], result["persons"], result["epochs"]) == (16, 10, 2)


# ---------------------------------------------------------------------------------------------------------------------
# who is looked at, and how


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[People]:
    """The people whose keypoints were searched for."""
    people: list[People] = []

    def predict(net: nn.Module, who: People, *rest: Any) -> np.ndarray:
        people.append(who)
        return predict_people(net, who, *rest)

    monkeypatch.setattr("hrnas.training.evaluation.predict_people", predict)
    return people


def test_proxies_are_scored_on_the_held_out_people(looked_at: list[People], tmp_path: Path) -> None:
    scores = proxy(Steps(), tmp_path, rung=0)
    parts = load_sources(recipe().data)
    assert looked_at == [parts.holdout] and scores["persons"] == 8 and scores["persons_train"] == 16
    assert not np.isin(looked_at[0].keypoints, parts.train.keypoints).all(axis=(1, 2)).any(), "no one was learnt from"


def test_full_training_is_scored_on_the_validation_people(looked_at: list[People], tmp_path: Path) -> None:
    train_architecture(ARCHITECTURE, recipe(epochs=1), tmp_path)
    parts = load_sources(recipe().data)
    assert looked_at == [parts.val]
    assert not np.isin(looked_at[0].keypoints, parts.train.keypoints).all(axis=(1, 2)).any(), "no one was learnt from"


class Seer(nn.Module):
    """A network that knows where everybody is: Gaussians at the true places, by the geometry of HRNet's paper.

    A picture at an odd call is taken for a mirrored one where `mirrors`. `seen` are the pictures it was shown.
    """

    def __init__(self, people: People, size: tuple[int, int], mirrors: bool = False) -> None:
        super().__init__()
        height, width = size
        x, y, w, h = people.boxes.T
        framed = 1.25 * np.maximum(w, h * width / height)
        centre = np.stack([x + w / 2, y + h / 2], axis=1)
        places = (people.keypoints[:, :, :2] - centre[:, None]) * (width / framed)[:, None, None]
        self.places = places + np.array([width / 2, height / 2])
        self.size, self.mirrors = size, mirrors
        names = list(people.keypoint_set.names)
        other = {"left": "right", "right": "left"}
        swapped = [
            f"{other.get(side, side)}_{part}" if part else side for side, _, part in (n.partition("_") for n in names)
        ]
        self.swap = [names.index(name) for name in swapped]
        self.seen: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        places = self.places
        if self.mirrors and len(self.seen) % 2:
            places = places[:, self.swap] * [-1, 1] + [self.size[1] - 1, 0]
        self.seen.append(images)
        rows, columns = (np.arange(side // 4) for side in self.size)
        across = (columns - places[:, :, :1] / 4) ** 2
        down = (rows - places[:, :, 1:] / 4) ** 2
        return torch.from_numpy(np.exp(-(down[:, :, :, None] + across[:, :, None, :]) / 8)).float()


@pytest.mark.parametrize("flip_test", [False, True])
def test_a_network_that_knows_everything_gets_full_marks(flip_test: bool) -> None:
    people, card = draw_people(20, 7), recipe(input="256x192", loss={"kind": "mse"}, flip_test=flip_test)
    seer = Seer(people, card.input, mirrors=flip_test)
    scores = score_people(seer, people, open_pictures(people), card, CPU)
    assert scores["score"] == scores["oks"] > 0.95 and scores["ap"] > 0.9 and scores["oks50"] == 1.0
    wrong = Seer(people, card.input, mirrors=flip_test)
    wrong.places = wrong.places[:, wrong.swap]
    assert score_people(wrong, people, open_pictures(people), card, CPU)["oks"] < 0.6, "left is not right"


@pytest.mark.parametrize("flip_test", [False, True])
def test_pictures_are_looked_at_mirrored_where_the_recipe_says_so(flip_test: bool) -> None:
    people, card = draw_people(6, 7), recipe(flip_test=flip_test)
    seer = Seer(people, card.input)
    predict_people(seer, people, open_pictures(people), card, CPU)
    assert len(seer.seen) == 1 + flip_test
    if flip_test:
        assert torch.equal(seer.seen[1], seer.seen[0].flip(3))


def test_the_start_says_how_weights_are_drawn() -> None:
    paper, scaled = (make_net(ARCHITECTURE, 17, recipe(start=start), 0) for start in ("paper", "scaled"))
    first = [next(m for m in net.modules() if isinstance(m, nn.Conv2d)).weight.std().item() for net in (paper, scaled)]
    assert first[0] == pytest.approx(0.001, rel=0.1) and first[1] > 0.05
    again = make_net(ARCHITECTURE, 17, recipe(start="scaled"), 0)
    assert all(torch.equal(a, b) for a, b in zip(scaled.parameters(), again.parameters(), strict=True))


def test_bf16_is_refused_where_the_device_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda device: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    with pytest.raises(UserError, match="cannot compute in bf16; write amp: none"):
        check_amp(recipe(amp="bf16"), cuda)
    check_amp(recipe(), cuda)
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda device: False)
    with pytest.raises(UserError, match=r"\(cpu\) cannot compute in bf16"):
        ProxyTrainer(recipe(amp="bf16"), LADDER)
