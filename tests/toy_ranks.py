"""A program for torchrun: train in several ways together, and leave what this process then holds in FOLDER/RANK.pt.

Run as a script: `torchrun ... toy_ranks.py FOLDER`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn
from workshop import SPACE

from hrnas.cards.supernet import SupernetCard
from hrnas.cards.trainer import Recipe
from hrnas.nets.supernet import Supernet
from hrnas.pose.batches import Batch, Batches
from hrnas.pose.codecs import make_codec
from hrnas.pose.crops import open_pictures
from hrnas.pose.drawn import draw_people
from hrnas.reading import UserError
from hrnas.space.architecture import Architecture
from hrnas.space.search_space import SpaceCard, space_from_card
from hrnas.training.loop import Diverged, Stopped, Training
from hrnas.training.proxy import make_net
from hrnas.training.ranks import ALONE, Ranks, join_ranks
from hrnas.training.supernet import SupernetTraining

RECIPE = Recipe.model_validate(
    {
        "name": "together",
        "data": {"kind": "drawn", "train": 36},
        "input": "64x64",
        "epochs": 2,
        "batch_size": 8,
        "optimiser": {"rate": 3e-3},
        "schedule": {"kind": "cosine"},
        "start": "scaled",
        "ema": 0.9,
        "clip": 1.0,
    }
)
SHARED = SPACE.partition("choices:")[0] + "choices: {'stages[all].row.kind': [shuffle, residual]}"
ARCHITECTURE = Architecture.from_tree(yaml.safe_load(SPACE)["base"])


def make_batches(ranks: Ranks) -> Batches:
    """This process's share of four steps an epoch; four persons wait for the next epoch's order."""
    people = draw_people(36, 0)
    return Batches(
        people,
        open_pictures(people),
        make_codec(RECIPE.codec, RECIPE.input),
        RECIPE.batch_size,
        augmentation=RECIPE.augmentation,
        share=(ranks.rank, ranks.count),
    )


def make_plain_net() -> nn.Module:
    """A network without norms, for which the mean of two half batches' gradients is the whole one's; one layer is dead,
    and another only has weights."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(), nn.Conv2d(8, 17, 3, 1, 1))
    net.register_parameter("dead", nn.Parameter(torch.ones(3), requires_grad=False))
    net.register_parameter("unheard", nn.Parameter(torch.ones(3)))
    return net


def train_plain(ranks: Ranks) -> Training:
    """Two epochs of the network without norms."""
    training = Training(make_plain_net(), RECIPE, ranks=ranks)
    training.run(make_batches(ranks), 2)
    return training


def train_pose_net(ranks: Ranks) -> Training:
    """Two epochs of a network as users train them."""
    training = Training(make_net(ARCHITECTURE, 17, RECIPE, 0), RECIPE, ranks=ranks)
    training.run(make_batches(ranks), 2)
    return training


def train_shared(ranks: Ranks) -> SupernetTraining:
    """Two epochs of shared weights; on the last process one row gives no finite numbers, so that all leave it out."""
    space = space_from_card(SpaceCard.model_validate({"name": "shared", **yaml.safe_load(SHARED)}), "shared")
    recipe = RECIPE.model_copy(update={"ema": None})
    card = SupernetCard.model_validate({"trainer": "together", "rule": {"kind": "fair"}})
    training = SupernetTraining(Supernet(space, 17), recipe, card, ranks=ranks)
    if ranks.rank == ranks.count - 1 and ranks.count > 1:
        for name, weight in training.supernet.weights.items():
            if ".residual." in name:
                weight.data.fill_(np.nan)
    training.run(make_batches(ranks), 2)
    return training


def stop_and_go_on(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """Only the last process is asked to stop, in the second epoch; then only the first finds the checkpoint."""
    calls, path = 0, folder / f"{ranks.rank}" / "training.pt"

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return ranks.rank == ranks.count - 1 and calls == 6

    training = Training(make_net(ARCHITECTURE, 17, RECIPE, 0), RECIPE, ranks=ranks)
    said = ""
    try:
        training.run(make_batches(ranks), 2, checkpoint=path, stop=stop)
    except Stopped as stopped:
        said = str(stopped)
    written = path.exists()
    resumed = Training(make_net(ARCHITECTURE, 17, RECIPE, 99), RECIPE, ranks=ranks)
    resumed.resume(path)
    place = (resumed.epoch, resumed.step)
    resumed.run(make_batches(ranks), 2)
    return {"said": said, "written": written, "place": place, "resumed": resumed.state()}


def diverge(ranks: Ranks) -> str:
    """Only the last process is given a target that is not finite."""

    class Poisoned:
        whole = make_batches(ranks)

        def __len__(self) -> int:
            return len(self.whole)

        def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
            for batch in self.whole.epoch(epoch, first_step):
                if ranks.rank == ranks.count - 1:
                    batch.targets[0, 0, 0, 0] = np.nan
                yield batch

    try:
        Training(make_plain_net(), RECIPE, ranks=ranks).run(Poisoned(), 1)
    except Diverged as error:
        return str(error)
    return "nothing"


def hear_of_a_mistake(ranks: Ranks) -> str:
    """A mistake that only the first process makes."""

    def action() -> None:
        raise UserError("a mistake")

    try:
        ranks.lead(action)
    except UserError as error:
        return str(error)
    return "nothing"


def main(folder: Path) -> None:
    """Do all of it."""
    with join_ranks() as ranks:
        assert ranks != ALONE
        found = {
            "plain": train_plain(ranks).state(),
            "pose": train_pose_net(ranks).state(),
            "shared": train_shared(ranks).state(),
            "stopped": stop_and_go_on(ranks, folder),
            "mistake": hear_of_a_mistake(ranks),
            "diverged": diverge(ranks),
        }
        torch.save(found, folder / f"{ranks.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
