"""The ladder: what its rungs may be, who climbs, and that a rung goes on as if training had never paused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from toy_study import run_toy, toy_card
from workshop import SPACE

from hrnas.cards.study import Rung, StudyCard
from hrnas.cards.trainer import Recipe
from hrnas.ledger import Ledger
from hrnas.reading import UserError, validate
from hrnas.space.architecture import Architecture
from hrnas.training.checkpoint import load_checkpoint
from hrnas.training.proxy import ProxyTrainer

ZERO, INHERITED = {"fidelity": "zero_cost"}, {"fidelity": "inherited"}


# ---------------------------------------------------------------------------------------------------------------------
# rungs


def card_of(*ladder: dict[str, Any], **changes: Any) -> StudyCard:
    tree = toy_card().model_dump(mode="json") | {"ladder": list(ladder)} | changes
    return validate(StudyCard, tree, "card")


def test_a_rung_that_names_only_epochs_is_a_proxy_and_is_written_as_it_always_was() -> None:
    card = card_of({"epochs": 1}, {"epochs": 3})
    assert card.model_dump(mode="json")["ladder"] == [{"fidelity": "proxy", "epochs": e} for e in (1, 3)]


def test_fidelities_climb_from_cheap_to_dear_and_epochs_belong_to_training() -> None:
    card = card_of({"fidelity": "cost"}, ZERO, INHERITED, {"epochs": 2}, {"epochs": 6})
    assert [rung.fidelity for rung in card.ladder] == ["cost", "zero_cost", "inherited", "proxy", "proxy"]
    assert [card.epochs_added(rung) for rung in range(5)] == [0, 0, 0, 2, 4]
    assert (card.ladder[0].measure, card.ladder[1].measure) == ("params", "naswot")
    assert validate(StudyCard, card.model_dump(mode="json"), "again") == card


@pytest.mark.parametrize(
    ("ladder", "says"),
    [
        ([{"fidelity": "proxy"}], r"ladder\[0\].*it needs epochs, such as epochs: 3"),
        ([{}], "it needs epochs"),
        ([ZERO | {"epochs": 1}], "a rung of fidelity zero_cost does not train: leave epochs out"),
        ([{"epochs": 1}, ZERO], "expected cost before zero_cost before inherited before proxy.*got proxy, zero_cost"),
        ([ZERO, ZERO, {"epochs": 1}], "only proxy more than once; got zero_cost, zero_cost, proxy"),
        ([ZERO, {"epochs": 3}, {"epochs": 3}], r"train longer than the one before, got epochs \[3, 3\]"),
        ([ZERO | {"by": "luck"}], "by: no measure 'luck'; there are: naswot, synflow, "),
        ([{"epochs": 1, "by": "naswot"}], "by: no measure 'naswot'; a rung of fidelity proxy has none"),
        ([{"fidelity": "full", "epochs": 1}], "ladder.*fidelity"),
    ],
)
def test_a_rung_that_cannot_be_is_refused_with_what_would_do(ladder: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(UserError, match=says):
        card_of(*ladder)


def test_ap_is_no_goal_where_a_rung_does_not_know_it() -> None:
    with pytest.raises(UserError, match="ap is not known on rungs of fidelity cost or zero_cost; use score"):
        card_of(ZERO, {"epochs": 1}, goals={"ap": "maximize", "macs": "minimize"}, reference={})


@pytest.mark.parametrize(("score", "fine"), [(-812.5, True), (float("nan"), False), (None, False)])
def test_a_score_without_training_may_be_any_finite_number(tmp_path: Path, score: Any, fine: bool) -> None:
    evaluators = {"zero_cost": lambda *anything: {"score": score}}
    card = card_of(ZERO, trials=1)
    assert run_toy(tmp_path, card, evaluators=evaluators).complete == fine
    found = Ledger.open(tmp_path / "ledger.sqlite").evaluations("done" if fine else "failed")
    assert found and all(e.identity.fidelity == "zero_cost" for e in found)


# ---------------------------------------------------------------------------------------------------------------------
# training on


def recipe(schedule: dict[str, Any]) -> Recipe:
    tree = {
        "name": "tiny",
        "data": {"kind": "drawn", "train": 16, "holdout": 8, "val": 10, "seed": 0},
        "input": "64x64",
        "epochs": 3,
        "batch_size": 8,
        "loss": {"kind": "cross_entropy"},
        "optimiser": {"rate": 3e-3},
        "schedule": schedule,
        "ema": 0.9,
        "flip_test": False,
        "cache": True,
    }
    return Recipe.model_validate(tree)


def climb(folder: Path, card: Recipe, epochs: list[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The scores and the checkpoint of the highest of some rungs."""
    ladder = [Rung(epochs=count) for count in epochs]
    architecture = Architecture.from_tree(yaml.safe_load(SPACE)["base"])
    for rung in ladder:
        scores = ProxyTrainer(card, ladder)(architecture, rung, 3, folder, lambda progress: None)
    return dict(scores), load_checkpoint(folder / "training-seed3.pt")


@pytest.mark.parametrize("kind", ["constant", "cosine"])
def test_only_at_a_constant_rate_a_rung_goes_on_as_if_training_had_never_paused(kind: str, tmp_path: Path) -> None:
    card = recipe({"kind": kind, "warmup_steps": 3})
    paused, state = climb(tmp_path / "paused", card, [1, 2, 3])
    whole, expected = climb(tmp_path / "whole", card, [3])
    same = [torch.equal(state["net"][name], expected["net"][name]) for name in expected["net"]]
    assert (paused == whole) == all(same) == (kind == "constant")
