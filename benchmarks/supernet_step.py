"""What sharing weights costs: a supernet's step of one path beside the same network's own step, and making a skeleton.

    python benchmarks/supernet_step.py [--space joint] [--count 20]

Both step on the same batch, one after the other; each ratio is of the medians of several rounds of CPU time, so that
other work on the machine counts little. The last lines say how long a skeleton takes: of an architecture whose pieces
were never seen, and of one that was.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from hrnas.cards.supernet import SupernetCard
from hrnas.cards.trainer import Recipe
from hrnas.nets import skeleton
from hrnas.nets.pose_net import PoseNet
from hrnas.nets.supernet import Supernet
from hrnas.space.genome import Genome
from hrnas.space.published import load_point
from hrnas.space.search_space import load_space
from hrnas.training.loop import Training
from hrnas.training.paths import PathSampler, Turn
from hrnas.training.supernet import SupernetTraining

RESULTS = Path(__file__).parent / "results" / "supernet_step.csv"
ROUNDS = 3
KEYPOINTS = 17


class Drawn:
    """A batch of noise."""

    def __init__(self, size: tuple[int, int], count: int) -> None:
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 256, (count, *size, 3), np.uint8)
        self.targets = rng.random((count, KEYPOINTS, size[0] // 4, size[1] // 4), np.float32)
        self.weights = np.ones((count, KEYPOINTS), np.float32)


class Only(PathSampler):
    """One path, again and again."""

    genome: Genome

    def turns(self, epoch: int, step: int) -> list[Turn]:
        return [Turn(self.genome, "alone")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--space", default="joint")
    parser.add_argument("--count", type=int, default=20)
    said = parser.parse_args()
    torch.set_num_threads(1)
    space = load_space(said.space)
    card = {"data": {"kind": "drawn"}, "input": "128x96", "epochs": 1, "batch_size": 8, "clip": 1.0, "start": "scaled"}
    recipe = Recipe.model_validate({"name": "step", **card})
    shared = SupernetTraining(Supernet(space, KEYPOINTS), recipe, SupernetCard(trainer="step"))
    shared.sampler = Only(space, shared.supernet.layout.ends, shared.card)
    batch, rng = Drawn(recipe.input, recipe.batch_size), np.random.default_rng(0)
    rows = []
    for _ in range(said.count):
        genome = space.sample(rng)
        architecture = space.decode(genome)
        shared.sampler.genome = genome
        alone = Training(shared.supernet.extract(architecture).train(), recipe)
        own, ours = _seconds(partial(alone._learn, batch, 1.0), partial(shared._learn, batch, 1.0))
        rows.append((said.space, architecture.key, f"{own:.4f}", f"{ours:.4f}", f"{ours / own:.3f}"))
        print(*rows[-1], flush=True)
    with RESULTS.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("space", "key", "own", "shared", "ratio"), *rows])
    print(f"median ratio {statistics.median(float(row[-1]) for row in rows):.3f}")
    point = load_point("published/lite_hrnet_18").architecture
    for name, forget in (("first", True), ("again", False)):
        times = []
        for _ in range(15):
            if forget:
                skeleton._template.cache_clear()
            began = time.process_time()
            with skeleton.without_weights():
                PoseNet(point, KEYPOINTS)
            times.append(1000 * (time.process_time() - began))
        print(f"skeleton of lite_hrnet_18, {name}: {statistics.median(times):.1f} ms")


def _seconds(*works: Callable[[], object]) -> list[float]:
    """The median CPU seconds of each, taken in turns."""
    for work in works:
        work()
    times: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for spent, work in zip(times, works, strict=True):
            began = time.process_time()
            work()
            spent.append(time.process_time() - began)
    return [statistics.median(spent) for spent in times]


if __name__ == "__main__":
    main()
