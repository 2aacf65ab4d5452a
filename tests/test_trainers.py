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
from safetensors.torch import load_file
from torch import nn
from workshop import SPACE, write_coco, write_mpii

from hrnas.cards.study import Rung
from hrnas.cards.trainer import Boxes, Codec, MpiiData, Recipe, load_recipe
from hrnas.pose.coco import People
from hrnas.pose.crops import open_pictures
from hrnas.pose.drawn import draw_people
from hrnas.reading import UserError
from hrnas.shelf import list_cards
from hrnas.space.architecture import Architecture
from hrnas.training.checkpoint import load_checkpoint
from hrnas.training.evaluation import find_candidates, predict_people, score_candidates, score_people
from hrnas.training.full import train_architecture
from hrnas.training.loop import Progress, Training, check_amp
from hrnas.training.proxy import ProxyTrainer, make_net, training_identity
from hrnas.training.schedule import rate_factor
from hrnas.training.sources import Sources, load_sources

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
    """Every file of a trained folder that does not say how long it took, and the log without that."""
    log = [dict(line, seconds="", waiting="") for line in csv.DictReader(StringIO((folder / "log.csv").read_text()))]
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    timed = ("log.csv", "training.pt", "tensorboard/")
    return {"log.csv": log} | {name: path.read_bytes() for name, path in files.items() if not name.startswith(timed)}


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
        ("0002.jpg", 1),
        ("result.json", 1),
        ("result.json", 2),
        ("log.csv", 1),
        ("log.csv", 2),
    ],
)
def test_a_training_stopped_between_two_files_writes_all_of_them_again(
    name: str, epoch: int, monkeypatch: pytest.MonkeyPatch, trained: Path, tmp_path: Path
) -> None:
    from hrnas.training import folder
    from hrnas.training import trained as weights

    write, written = folder.write_atomically, 0

    def write_or_stop(path: Path, content: str | bytes) -> None:
        nonlocal written
        written += path.name == name
        if path.name == name and written == epoch:
            raise Stopped
        write(path, content)

    steps = Steps()
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(folder, "write_atomically", write_or_stop)
        patch.setattr(weights, "write_atomically", write_or_stop)
        train_architecture(ARCHITECTURE, recipe(), tmp_path, 3, steps.on_progress)
    train_architecture(ARCHITECTURE, recipe(), tmp_path, 3, steps.on_progress)
    assert read_folder(tmp_path) == read_folder(trained) and steps == steps_of(0, 1)


def test_a_finished_training_is_not_done_again(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_folder(trained)
    monkeypatch.setattr("hrnas.training.full.score_candidates", lambda *_: pytest.fail("measured again"))
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
    assert result["pixels"] == "cached regions"


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


# ---------------------------------------------------------------------------------------------------------------------
# a detector's boxes


def detected(people: People, folder: Path, times: int = 2, wrong: float = 0.1) -> People:
    """A detector that saw everybody, surer of some, then everybody again, a little less surely, and at last the sky.

    Returns:
        For each box the person who is in it (the first person for the sky), picture by picture.
    """
    who = [*range(len(people))] * times + [0]
    scores = [0.9 - 0.02 * person - 0.01 * turn for turn in range(times) for person in range(len(people))] + [wrong]
    seen = people.take(who)
    seen.boxes[-1] = (0, 0, 3, 4)
    boxes = [
        {"image_id": people.pictures[picture].id, "category_id": 1, "bbox": box, "score": score}
        for picture, box, score in zip(seen.picture.tolist(), seen.boxes.tolist(), scores, strict=True)
    ]
    (folder / "seen.json").write_text(json.dumps(boxes))
    return seen.take(np.argsort(seen.picture, kind="stable"))


def boxed_recipe(folder: Path, **boxes: Any) -> Recipe:
    data = {"kind": "coco", "root": str(folder), "boxes": {"file": "seen.json", **boxes}}
    return recipe(data=data, input="256x192", loss={"kind": "mse"})


def see(people: People, known: People, card: Recipe) -> dict[str, Any]:
    """What a network that knows everybody scores in a recipe's boxes."""
    candidates = find_candidates(card, people)
    np.testing.assert_array_equal(candidates.people.boxes, known.boxes)
    net, pixels = Seer(known, card.input), open_pictures(candidates.people)
    return score_candidates(net, people, candidates, pixels, card, CPU)


def test_doubles_are_suppressed_and_what_is_left_scores_as_in_peoples_own_boxes(tmp_path: Path) -> None:
    people = draw_people(20, 7)
    known = detected(people, tmp_path)
    card = boxed_recipe(tmp_path)
    scores = see(people, known, card)
    own = score_people(Seer(people, card.input), people, open_pictures(people), card, CPU)
    names = ("ap50", "ap75", "ar", "ar50", "ar75")  # AP also asks who is surer
    assert [scores[name] for name in names] == pytest.approx([own[name] for name in names], abs=1e-9)
    assert scores["ap_by_keypoint"]["nose"] > 0.9 and "oks" not in scores
    softly = see(people, known, boxed_recipe(tmp_path, suppression="soft"))
    assert softly["ap"] < scores["ap"], "the soft way keeps doubles where there are not more than 20"


def test_what_a_detector_does_not_see_is_missed(tmp_path: Path) -> None:
    people = draw_people(20, 7)
    known = detected(people.take(np.arange(10)), tmp_path, times=1)
    assert see(people, known, boxed_recipe(tmp_path))["ar50"] == pytest.approx(0.5)


def test_a_sure_detector_of_the_sky_costs_precision(tmp_path: Path) -> None:
    people = draw_people(20, 7)
    sure, unsure = (see(people, detected(people, tmp_path, 1, score), boxed_recipe(tmp_path)) for score in (1.0, 0.1))
    assert sure["ap50"] < unsure["ap50"]


def test_boxes_below_the_threshold_are_not_looked_into(tmp_path: Path) -> None:
    people = draw_people(6, 7)
    detected(people, tmp_path)
    assert len(find_candidates(boxed_recipe(tmp_path), people).scores) == 13
    assert len(find_candidates(boxed_recipe(tmp_path, threshold=0.3), people).scores) == 12
    assert len(find_candidates(boxed_recipe(tmp_path, threshold=0.855), people).scores) == 5


def test_the_label_says_which_boxes_and_the_fingerprint_stays() -> None:
    def card(boxes: Any) -> Recipe:
        return recipe(data={"kind": "coco", "boxes": boxes})

    plain, told = recipe(data={"kind": "coco"}), card("ground truth")
    assert plain == told and plain.boxes.label == recipe().boxes.label == "ground truth"
    assert plain.data.label == "coco (hold-out 0.25 of the training pictures, seed 0)"
    seen = card({"file": "results/seen.json", "threshold": 0.2, "suppression": "soft"})
    assert seen.boxes.label == "seen.json, from a score of 0.2, softly suppressed"
    assert seen.data.label == f"coco (hold-out 0.25 of the training pictures, seed 0, boxes of {seen.boxes.label})"
    assert card("results/seen.json").boxes == Boxes(file="results/seen.json")
    assert seen.fingerprint == plain.fingerprint


def test_a_full_training_says_whose_boxes_it_was_measured_in(tmp_path: Path) -> None:
    write_coco(tmp_path)
    box = {"image_id": 3, "category_id": 1, "bbox": [10, 10, 60, 100], "score": 0.9}
    (tmp_path / "seen.json").write_text(json.dumps([box, box]))
    data = {"kind": "coco", "root": str(tmp_path), "holdout": 0, "boxes": "seen.json"}
    result = train_architecture(ARCHITECTURE, recipe(data=data, epochs=1, cache=False), tmp_path / "out")
    assert result is not None and result["boxes"] == "seen.json" and "oks" not in result
    assert (result["persons"], result["pictures"], result["score"]) == (16, 16, result["ap"])


def test_boxes_that_are_not_there_stop_a_training_before_it_begins(tmp_path: Path) -> None:
    write_coco(tmp_path)
    card = recipe(data={"kind": "coco", "root": str(tmp_path), "boxes": "seen.json"})
    with pytest.raises(UserError, match=r"seen\.json: cannot be read: No such file"):
        train_architecture(ARCHITECTURE, card, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="data.boxes: a search ranks by held-out training people"):
        ProxyTrainer(card, LADDER)


# ---------------------------------------------------------------------------------------------------------------------
# MPII


@pytest.fixture
def mpii(tmp_path: Path) -> Recipe:
    """The tiny card on three persons of MPII."""
    write_mpii(tmp_path / "mpii")
    data = {"kind": "mpii", "root": str(tmp_path / "mpii")}
    return recipe(data=data, batch_size=3, flip_test=True, cache=False, loss={"kind": "mse"})


def test_training_on_mpii_is_judged_by_pckh(mpii: Recipe, tmp_path: Path) -> None:
    result = train_architecture(ARCHITECTURE, mpii, tmp_path / "out")
    assert result["score"] == result["pckh"] and "ap" not in result and "oks" not in result
    assert (result["persons_train"], result["persons"], result["split"]) == (3, 1, "val")
    assert result["pixels"] == "original pictures"
    lines = (tmp_path / "out/log.csv").read_text().splitlines()
    assert lines[0] == "epoch,loss,seconds,waiting,pckh" and len(lines) == 3
    assert train_architecture(ARCHITECTURE, mpii, tmp_path / "out") == result


def test_a_network_that_knows_everything_gets_full_marks_on_mpii(mpii: Recipe) -> None:
    card = mpii.with_changes(input=(256, 256))
    people = load_sources(card.data).train
    seer = Seer(people, card.input, mirrors=True)
    scores = score_people(seer, people, open_pictures(people), card, CPU)
    assert scores["score"] == scores["pckh"] == 1.0
    one_sided = Seer(people, card.input, mirrors=True)
    one_sided.swap = list(range(16))
    assert score_people(one_sided, people, open_pictures(people), card, CPU)["pckh"] < 0.9, "sides change places"


def test_a_search_on_mpii_is_refused(mpii: Recipe) -> None:
    with pytest.raises(UserError, match="data: a search ranks by OKS and AP, which MPII has not"):
        ProxyTrainer(mpii, LADDER)


def test_another_folder_of_mpii_stays_mpii(tmp_path: Path) -> None:
    moved = load_recipe("hrnet_mpii").at(tmp_path)
    assert moved.data == MpiiData(kind="mpii", root=str(tmp_path))


# ---------------------------------------------------------------------------------------------------------------------
# the cards

FAMILIES = ("hrnet", "lite_hrnet", "le_hrnet", "sdhrnet", "lite_csw_hrnet", "hr_litenet", "greit_hrnet")
FULL = [f"{family}_{data}" for family in FAMILIES for data in ("coco", "mpii")]
FINGERPRINTS = {  # ledgers know them
    "drawn_to_coco": "7ba97ef0b0",
    "hrnet_coco": "3d6b40ad97",
    "lite_hrnet_coco": "ca89c4ee45",
    "proxy_coco": "7ba97ef0b0",
    "proxy_coco64": "bc37acfe77",
    "proxy_drawn": "c394764fbc",
}
RATES = {  # as printed: the rate in an epoch (counted from 0)
    "hrnet": {0: 1e-3, 169: 1e-3, 170: 1e-4, 200: 1e-5, 209: 1e-5},
    "lite_hrnet": {9: 2e-3, 169: 2e-3, 170: 2e-4, 200: 2e-5, 209: 2e-5},
    "le_hrnet": {0: 1e-3, 169: 1e-3, 170: 1e-4, 209: 1e-4, 210: 1e-5, 229: 1e-5},
    "sdhrnet": {0: 1e-3, 169: 1e-3, 170: 1e-4, 200: 1e-5},
    "lite_csw_hrnet": {9: 2e-3, 100: 2e-3},
    "hr_litenet": {0: 1e-3, 169: 1e-3, 170: 1e-4, 200: 1e-5, 209: 1e-5},
    "greit_hrnet": {9: 2e-3, 100: 2e-3, 200: 2e-5, 209: 2e-5},
}
BATCHES = {  # as printed, or as the configurations of the released code say
    **{"hrnet_coco": 128, "hrnet_mpii": 128, "lite_hrnet_coco": 512, "lite_hrnet_mpii": 256},
    **{"hr_litenet_mpii": 32, "greit_hrnet_coco": 256, "greit_hrnet_mpii": 256},
}


def test_there_is_a_full_recipe_for_every_paper_and_data_set() -> None:
    short = {"proxy_drawn", "proxy_coco", "proxy_coco64", "proxy_lsp", "drawn_to_coco", "supernet_lsp"}
    assert set(list_cards("trainers")) == short | set(FULL)
    assert [load_recipe(name).data.kind for name in FULL] == ["coco", "mpii"] * len(FAMILIES)


@pytest.mark.parametrize("name", FULL)
def test_a_full_recipe_is_as_printed(name: str) -> None:
    family, data = name.rsplit("_", 1)
    card = load_recipe(name)
    rates = {
        epoch: card.optimiser.rate * rate_factor(card.schedule, epoch * 100, 100, 0, card.epochs)
        for epoch in RATES[family]
    }
    assert rates == pytest.approx(RATES[family]) and card.optimiser.kind == "adam"
    assert max(RATES[family]) < card.epochs <= 230
    assert card.batch_size == BATCHES.get(name, card.batch_size)
    assert (card.input, card.augmentation.half_body) == {"coco": ((256, 192), 0.3), "mpii": ((256, 256), 0)}[data]
    assert card.codec.sigma_at(card.input) == 2 and card.codec.sigma_at((384, 288)) == 3
    assert "half_body" in card.augmentation.model_fields_set and card.augmentation.flip == 0.5


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_cards_that_ledgers_know_keep_their_fingerprints(name: str) -> None:
    assert load_recipe(name).fingerprint == FINGERPRINTS[name]


def test_a_sigma_by_input_is_the_sigma_that_it_comes_to(tmp_path: Path) -> None:
    said, meant = recipe(codec={"sigma": "by_input"}), recipe(codec={"sigma": 0.5})  # at 64x64
    assert said.fingerprint == meant.fingerprint != recipe().fingerprint
    assert said.with_changes(input=(384, 288)).fingerprint == recipe(codec={"sigma": 3}).fingerprint
    for train in (proxy_scores, full_scores):
        assert train(said, tmp_path / "said") == train(meant, tmp_path / "meant") != train(recipe(), tmp_path / "plain")
    with pytest.raises(ValueError, match="by_input"):
        Codec.model_validate({"sigma": "by_height"})


def proxy_scores(card: Recipe, folder: Path) -> Any:
    return proxy(Steps(), folder / "proxy", card=card)


def full_scores(card: Recipe, folder: Path) -> Any:
    return train_architecture(ARCHITECTURE, card, folder / "full")


@pytest.mark.data
@pytest.mark.parametrize("name", FULL)
def test_a_full_recipe_takes_a_step_on_real_pictures(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """At its own input size, with two persons to learn from and two to be scored on."""
    card = load_recipe(name)
    card = card.at(request.getfixturevalue(f"{card.data.kind}_root")).with_changes(batch_size=2, epochs=1)
    parts = load_sources(card.data)
    few = Sources(parts.train.take([0, 1]), parts.holdout, parts.val.take([0, 1]))
    monkeypatch.setattr("hrnas.training.full.load_sources", lambda data: few)
    steps = Steps()
    result = train_architecture(ARCHITECTURE, card, tmp_path, on_progress=steps.on_progress)
    assert steps == [(0, 1)] and 0 <= result["score"] <= 1 and result["persons"] == 2
    fresh = make_net(ARCHITECTURE, len(few.train.keypoint_set), card, 0).state_dict()
    learnt = load_file(tmp_path / "weights.safetensors")
    assert {key: value.shape for key, value in fresh.items()} == {key: value.shape for key, value in learnt.items()}
    assert any(not torch.equal(fresh[key], learnt[key]) for key in fresh if key.endswith("weight"))


# ---------------------------------------------------------------------------------------------------------------------
# weights and numbers


def test_the_start_says_how_weights_are_drawn() -> None:
    paper, scaled = (make_net(ARCHITECTURE, 17, recipe(start=start), 0) for start in ("paper", "scaled"))
    first = [next(m for m in net.modules() if isinstance(m, nn.Conv2d)).weight.std().item() for net in (paper, scaled)]
    assert first[0] == pytest.approx(0.001, rel=0.1) and first[1] > 0.05
    again = make_net(ARCHITECTURE, 17, recipe(start="scaled"), 0)
    assert all(torch.equal(a, b) for a, b in zip(scaled.parameters(), again.parameters(), strict=True))


def test_half_precision_is_refused_where_the_device_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda device: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    with pytest.raises(UserError, match="cannot train in bf16; write amp: none"):
        check_amp(recipe(amp="bf16"), cuda)
    for able in ("none", "fp16"):
        check_amp(recipe(amp=able), cuda)
    with pytest.raises(UserError, match=r"\(cpu\) cannot train in fp16; write amp: none"):
        check_amp(recipe(amp="fp16"), CPU)
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda device: False)
    with pytest.raises(UserError, match=r"\(cpu\) cannot train in bf16"):
        ProxyTrainer(recipe(amp="bf16"), LADDER)
