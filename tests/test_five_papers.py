"""The five papers' networks train from their recipe cards on real pictures: they learn, and resume exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hrnas.cards.trainer import Recipe, load_recipe
from hrnas.names import find_architecture
from hrnas.pose.batches import Batches
from hrnas.pose.codecs import make_codec
from hrnas.pose.crops import open_pictures
from hrnas.space.architecture import Architecture
from hrnas.training.checkpoint import load_checkpoint
from hrnas.training.full import train_architecture
from hrnas.training.loop import Stopped, to_input
from hrnas.training.losses import mean_squared_error
from hrnas.training.proxy import make_net
from hrnas.training.sources import Sources, load_sources

PAPERS = {  # the network, and epochs: HR-LiteNet's first outputs are ten times too large, and Adam overshoots at first
    "le_hrnet": ("le_hrnet", 2),
    "sdhrnet": ("sdhrnet", 2),
    "lite_csw_hrnet": ("lite_csw_hrnet", 2),
    "hr_litenet": ("hr_litenet", 4),
    "greit_hrnet": ("greit_hrnet_18", 2),
}


def loss_of(architecture: Architecture, recipe: Recipe, few: Sources, state: dict[str, torch.Tensor] | None) -> float:
    """The mean loss of the first epoch with fresh weights, or those of a checkpoint, and each batch's own norms."""
    net = make_net(architecture, len(few.train.keypoint_set), recipe, 0)
    if state is not None:
        net.load_state_dict(state)
    codec = make_codec(recipe.codec, recipe.input)
    pixels = open_pictures(few.train)
    losses = []
    for batch in Batches(few.train, pixels, codec, recipe.batch_size, augmentation=recipe.augmentation).epoch(0):
        with torch.no_grad():
            output = net.train()(to_input(batch.images, torch.device("cpu")))
        targets, weights = torch.from_numpy(batch.targets), torch.from_numpy(batch.weights)
        losses.append(mean_squared_error(output, targets, weights, codec.parts).item())
    return sum(losses) / len(losses)


def stop_before(step: int) -> Callable[[], bool]:
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls == step

    return stop


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("paper", PAPERS)
def test_a_published_network_learns_by_its_card_and_resumes_exactly(
    paper: str, coco_root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Epochs of six steps of four persons at 64x64; everything else as the card says, rate and warm-up too."""
    name, epochs = PAPERS[paper]
    architecture = find_architecture(f"published/{name}", None)
    card = load_recipe(f"{paper}_coco").at(coco_root)
    recipe = card.with_changes(input=(64, 64), epochs=epochs, evaluate_every=epochs, batch_size=4)
    parts = load_sources(recipe.data)
    few = Sources(parts.train.take(range(24)), parts.holdout, parts.val.take(range(2)))
    monkeypatch.setattr("hrnas.training.full.load_sources", lambda data: few)

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    result = train_architecture(architecture, recipe, whole)
    assert result is not None and 0 <= result["ap"] <= 1 and result["epochs"] == epochs
    state = load_checkpoint(whole / "training.pt")["net"]
    before, after = (loss_of(architecture, recipe, few, weights) for weights in (None, state))
    assert after < 0.99 * before, f"{before} -> {after}"

    with pytest.raises(Stopped):
        train_architecture(architecture, recipe, stopped, stop=stop_before(9))
    assert load_checkpoint(stopped / "training.pt")["step"] == 2
    assert train_architecture(architecture, recipe, stopped) == result
    assert (stopped / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
