"""Train the supernet of small_joint in several ways, and ask each for the recorded architectures' scores.

    HRNAS_DATA=DIR python benchmarks/supernet_ways.py [WAY ...]
    HRNAS_DATA=DIR python benchmarks/supernet_ways.py sandwich --trainer benchmarks/cards/supernet_coco64.yaml \\
        --table benchmarks/results/coco64_table.csv --results benchmarks/results/coco64_ways.csv

All ways take about as many forward passes. What is done is not done again: supernets lie in runs/supernet_ways/WAY, and
each score is a row of benchmarks/results/supernet_ways.csv, written as it comes. docs/supernet.md shows what the
rows say of the ranking, through benchmarks/supernet_ranks.py.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import torch

from hrnas.cards.supernet import SupernetCard
from hrnas.cards.trainer import load_recipe
from hrnas.nets.supernet import Supernet
from hrnas.space.search_space import load_space
from hrnas.training.inherited import InheritedScores, load_weights
from hrnas.training.loop import Progress
from hrnas.training.sources import load_sources
from hrnas.training.supernet_run import train_supernet

HERE = Path(__file__).parent
TABLE = HERE.parent / "hrnas" / "bench" / "tables" / "small_joint.csv"
RESULTS = HERE / "results" / "supernet_ways.csv"
PASSES = 3  # networks in a step of the sandwich; the other rules take more or fewer epochs
SANDWICH = {"kind": "sandwich", "random": 1, "distil": 1.0}
WAYS: dict[str, tuple[dict[str, object], float]] = {  # options of the card, and epochs relative to the trainer card's
    "sandwich": ({"rule": SANDWICH}, 1),
    "labels": ({"rule": {**SANDWICH, "distil": 0.0}}, 1),
    "single_path": ({"rule": {"kind": "single_path"}}, PASSES),
    "fair": ({"rule": {"kind": "fair"}}, PASSES / 5),
    "norms_by_width": ({"rule": SANDWICH, "norms": "by_width"}, 1),
    "warm_up": ({"rule": SANDWICH, "warmup": 10}, 1),
}
CALIBRATIONS = {"sandwich": (64, 256, 840)}  # crops; 256 elsewhere


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ways", nargs="*", default=[*WAYS], metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--trainer", default="supernet_lsp")
    parser.add_argument("--table", type=Path, default=TABLE, help="the architectures to ask for")
    parser.add_argument("--results", type=Path, default=RESULTS)
    said = parser.parse_args()
    torch.set_num_threads(1)
    space, recipe = load_space("small_joint"), load_recipe(said.trainer)
    sources = load_sources(recipe.data)
    keypoints = len(sources.train.keypoint_set.names)
    for way in said.ways:
        options, times = WAYS[way]
        card = SupernetCard.model_validate({"trainer": recipe.name, **options})
        folder = Path("runs") / "supernet_ways" / recipe.name / way
        longer = recipe.with_changes(epochs=round(recipe.epochs * times))
        if not (folder / "weights.safetensors").exists():
            train_supernet(space, card, longer, folder, on_progress=_show)
        supernet = Supernet(space, keypoints, card.norms, weights=load_weights(folder))
        for crops in CALIBRATIONS.get(way, (256,)):
            asked = InheritedScores(supernet, sources, recipe, crops)
            for key, genome in _architectures(said.table).items():
                if (way, str(crops), key) not in _finished(said.results):
                    found = asked.scores(space.decode(genome))
                    measured = (f"{found[name]:.5f}" for name in ("score", "ap", "pck"))
                    _add(said.results, (way, crops, key, *measured))


def _show(at: Progress) -> None:
    if at.step == at.steps:
        print(f"epoch {at.epoch + 1} of {at.epochs}: loss {at.loss:.3f}, {at.seconds:.0f} s", flush=True)


def _architectures(path: Path) -> dict[str, tuple[int, ...]]:
    with path.open(newline="") as file:
        return {row["key"]: tuple(json.loads(row["genome"])) for row in csv.DictReader(file)}


def _finished(path: Path) -> set[tuple[str, str, str]]:
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {(row["way"], row["crops"], row["key"]) for row in csv.DictReader(file)}


def _add(path: Path, row: tuple[object, ...]) -> None:
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if fresh:
            writer.writerow(("way", "crops", "key", "score", "ap", "pck"))
        writer.writerow(row)


if __name__ == "__main__":
    main()
