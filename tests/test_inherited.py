"""Shared weights from a card to a search: trained, asked first, trained on from; and what is said where they cannot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from workshop import STUDY, write_cards

from hrnas.cli import main
from hrnas.names import open_study, supernet_id
from hrnas.training.inherited import load_weights

LADDER = "ladder: [{fidelity: inherited}, {fidelity: proxy, epochs: 1}]"
SUPERNET = "supernet: {trainer: tiny, rule: {kind: sandwich, random: 1}, calibration: 8}"
ASKING = (
    STUDY.replace("name: tiny", "name: asking")
    .replace("ladder: [{epochs: 1}]", f"{LADDER}\n{SUPERNET}")
    .replace("trials: 2", "trials: 4")
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the cards, and the supernet of the study `asking`."""
    folder = tmp_path_factory.mktemp("trained")
    write_cards(folder)
    (folder / "studies" / "asking.yaml").write_text(ASKING, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["supernet", "train", "asking", "--quiet"]) == 0
    return folder


@pytest.fixture
def shop(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, to work in."""
    shutil.copytree(trained, tmp_path / "shop")
    monkeypatch.chdir(tmp_path / "shop")
    return tmp_path / "shop"


def test_a_study_asks_its_supernet_first_and_trains_what_it_likes(shop: Path) -> None:
    assert main(["search", "asking", "--quiet"]) == 0
    ledger = open_study("asking")
    done = [evaluation for trial in ledger.trials() for evaluation in trial.evaluations]
    ledger.close()
    asked = [evaluation for evaluation in done if evaluation.identity.fidelity == "inherited"]
    climbed = [evaluation for evaluation in done if evaluation.identity.fidelity == "proxy"]
    assert len(asked) == 4 and len(climbed) == 1 and {evaluation.state for evaluation in done} == {"done"}
    name = supernet_id(shop / "runs" / "asking")
    assert {evaluation.identity.recipe for evaluation in asked} == {f"supernet {name}"}
    assert climbed[0].identity.key in {evaluation.identity.key for evaluation in asked}
    assert climbed[0].identity.recipe.startswith("tiny "), "a proxy has the recipe of its trainer"


def test_training_again_changes_nothing_and_another_seed_gives_another_name(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = supernet_id(shop / "runs" / "asking"), load_weights(shop / "runs" / "asking" / "supernet")
    assert main(["supernet", "train", "asking", "--quiet", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    after = load_weights(shop / "runs" / "asking" / "supernet")
    assert said["id"] == before[0] and said["skipped"] == {} and said["epochs"] == 1
    assert all((before[1][name] == weight).all() for name, weight in after.items())
    other = ASKING.replace("calibration: 8", "calibration: 8, seed: 5").replace("name: asking", "name: other")
    (shop / "studies" / "other.yaml").write_text(other, encoding="utf-8")
    assert main(["supernet", "train", "other", "--quiet"]) == 0
    assert supernet_id(shop / "runs" / "other") != before[0]


def test_proxies_and_full_trainings_start_from_shared_weights(shop: Path) -> None:
    starting = ASKING.replace(LADDER, "ladder: [{epochs: 1}]").replace("name: asking", "name: starting")
    (shop / "studies" / "starting.yaml").write_text(f"{starting}init: supernet\n", encoding="utf-8")
    shutil.copytree(shop / "runs" / "asking", shop / "runs" / "starting")
    assert main(["search", "starting", "--quiet"]) == 0
    ledger = open_study("starting")
    trials = ledger.trials()
    ledger.close()
    name = supernet_id(shop / "runs" / "starting")
    assert all(trial.evaluations[0].identity.recipe.endswith(f", from supernet {name}") for trial in trials)
    full = ["train", f"starting#{trials[0].key}", "--trainer", "tiny", "--quiet", "--out"]
    assert main([*full, "fresh"]) == 0 and main([*full, "inherited", "--init", "starting"]) == 0
    assert Path("fresh/weights.safetensors").read_bytes() != Path("inherited/weights.safetensors").read_bytes()
    assert main([*full, "fresh", "--init", "starting"]) == 2, "a training that began otherwise is not gone on with"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("calibration: 8", "calibration: 99", "supernet.calibration: 99 crops, but there are 16 persons to learn from"),
        (SUPERNET, "", "supernet: init: supernet and rungs of fidelity inherited need one"),
        ("kind: sandwich, random: 1", "kind: club", "sandwich"),
        ("space: tiny", "space: quickstart", "has changed since its supernet was trained"),
    ],
)
def test_what_cannot_be_asked_is_said(
    shop: Path, old: str, new: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "studies" / "asking.yaml").write_text(ASKING.replace(old, new), encoding="utf-8")
    assert main(["search", "asking", "--quiet"]) == 2
    assert said in capsys.readouterr().err


def test_a_supernet_that_is_not_trained_yet_is_missed_before_anything_is_written(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(shop / "runs")
    assert main(["search", "asking", "--quiet"]) == 2
    assert "`hrnas supernet train CARD` trains it" in capsys.readouterr().err
    assert not (shop / "runs").exists()
    assert main(["supernet", "train", "tiny", "--quiet"]) == 2
    assert "tiny: the card has no section supernet" in capsys.readouterr().err
