"""Train architectures of a small space once, epoch by epoch, and write down what each epoch gave: the recorded table.

    HRNAS_DATA=DIR python benchmarks/record_table.py

`hrnas bench` compares search and early stopping on the table, and docs/supernet.md takes its reference from it. Each
architecture and seed is one unit; a unit's rows are added when it is finished, so that this may be stopped and said
again at any time. The first architectures come with two seeds: a ranking is worth no more than that of two seeds.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from hrnas.cards.trainer import load_recipe
from hrnas.nets.cost import measure_cost
from hrnas.pose.batches import Batches
from hrnas.pose.codecs import make_codec
from hrnas.space.genome import Genome
from hrnas.space.search_space import SearchSpace, load_space
from hrnas.training.evaluation import score_people
from hrnas.training.loop import Training
from hrnas.training.proxy import make_net, open_pixels
from hrnas.training.sources import load_sources

TABLE = Path(__file__).parent.parent / "hrnas" / "bench" / "tables"
COLUMNS = ("key", "genome", "seed", "epoch", "score", "ap", "loss", "params", "macs", "seconds", "pck")
TWICE = 28  # so many architectures are trained with two seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--space", default="small_joint")
    parser.add_argument("--trainer", default="proxy_lsp")
    parser.add_argument("--count", type=int, default=112, help="architectures in all")
    parser.add_argument("--table", type=Path, help="the file (default: hrnas/bench/tables/SPACE.csv)")
    said = parser.parse_args()
    torch.set_num_threads(1)
    space, recipe = load_space(said.space), load_recipe(said.trainer)
    path = said.table or TABLE / f"{said.space}.csv"
    done = _finished(path)
    sources = load_sources(recipe.data)
    train, holdout = open_pixels(sources.train, recipe), open_pixels(sources.holdout, recipe)
    codec = make_codec(recipe.codec, recipe.input)
    keypoints = len(sources.train.keypoint_set.names)
    for number, (genome, seed) in enumerate(_units(space, said.count)):
        architecture = space.decode(genome)
        if (architecture.key, seed) in done:
            continue
        cost = measure_cost(architecture, keypoints, recipe.input)
        training = Training(make_net(architecture, keypoints, recipe, seed), recipe)
        batches = Batches(
            sources.train, train, codec, recipe.batch_size, augmentation=recipe.augmentation, seed=seed, threads=1
        )
        rows, learnt = [], 0.0
        for epoch in range(1, recipe.epochs + 1):
            began = time.process_time()
            training.run(batches, epoch, until_rate=recipe.epochs)
            learnt += time.process_time() - began
            scores = score_people(training.best_net, sources.holdout, holdout, recipe, torch.device("cpu"))
            measured = (f"{scores['score']:.5f}", f"{scores['ap']:.5f}", f"{training.loss:.4f}")
            about = (architecture.key, json.dumps(list(genome)), seed, epoch)
            rows.append((*about, *measured, cost.params, cost.macs, f"{learnt:.1f}", f"{scores['pck']:.5f}"))
        _add(path, rows)
        print(f"{number + 1}: {architecture.key} seed {seed}: {rows[-1][4]} in {learnt:.0f} s", flush=True)


def _units(space: SearchSpace, count: int) -> Iterator[tuple[Genome, int]]:
    """Architectures drawn gene by gene, each once; the first with two seeds."""
    rng = np.random.default_rng(0)
    seen: dict[str, Genome] = {}
    while len(seen) < count:
        genome = space.sample(rng)
        seen.setdefault(space.decode(genome).key, genome)
    genomes = [*seen.values()]
    yield from ((genome, seed) for genome in genomes[:TWICE] for seed in (0, 1))
    yield from ((genome, 0) for genome in genomes[TWICE:])


def _finished(path: Path) -> set[tuple[str, int]]:
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {(row["key"], int(row["seed"])) for row in csv.DictReader(file)}


def _add(path: Path, rows: list[tuple[object, ...]]) -> None:
    """All epochs of a unit at once, so that no unit stands half in the table."""
    columns = COLUMNS
    if path.exists():
        with path.open(newline="") as file:
            columns = tuple(next(csv.reader(file)))  # small_joint.csv was begun without PCK
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        if not file.tell():
            writer.writeheader()
        writer.writerows(dict(zip(COLUMNS, row, strict=True)) for row in rows)


if __name__ == "__main__":
    main()
