"""What one training sample costs on one core at 256x192 (decode, crop, augmentation, target, batch), beside mmpose.

    python benchmarks/data_pipeline.py COCO --mmpose PYTHON --out benchmarks/results/data_pipeline.csv

COCO is a folder in COCO's layout. PYTHON is one that can import mmpose (1.3.2 was measured); without it only ours is
measured. All ways take turns, a few hundred samples at a time; CPU milliseconds of the median turn are told. mmpose's
samples are not yet put into batches; ours are.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path

import numpy as np

from hrnas.cards.trainer import Augmentation
from hrnas.pose.batches import Batch, Batches
from hrnas.pose.coco import People, read_coco_folder
from hrnas.pose.codecs import Gaussian
from hrnas.pose.crops import cut_regions, open_pictures

SIZE = (256, 192)
BATCH = 32
TURN = 256  # samples
AUGMENTATION = Augmentation(flip=0.5, scale=0.25, rotation=30, rotation_probability=0.6, half_body=0.3)

Way = Callable[[], float]  # one turn: CPU milliseconds of a sample


def time_decoding(people: People, pictures: Iterator[int]) -> float:
    """Of a picture, without anything else."""
    began = time.process_time()
    for picture in islice(pictures, TURN):
        people.load_picture(picture)
    return (time.process_time() - began) / TURN * 1e3


def time_batches(batches: Iterator[Batch]) -> float:
    """Of a sample, in its batch."""
    samples, began = 0, time.process_time()
    while samples < TURN:
        samples += len(next(batches).images)
    return (time.process_time() - began) / samples * 1e3


def time_making(people: People) -> float:
    """Of a person, when regions are decoded, cut and written to disk."""
    with tempfile.TemporaryDirectory() as folder:
        return time_finding(people, folder)


def time_finding(people: People, folder: str) -> float:
    """Of a person, when a run begins; most of it tells the pictures' contents."""
    with using_cache(folder):
        began = time.process_time()
        cut_regions(people, SIZE)
        return (time.process_time() - began) / len(people) * 1e3


@contextmanager
def using_cache(folder: str) -> Iterator[None]:
    """Regions are kept in this folder."""
    before = os.environ.get("HRNAS_CACHE")
    os.environ["HRNAS_CACHE"] = folder
    yield
    os.environ.pop("HRNAS_CACHE")
    if before is not None:
        os.environ["HRNAS_CACHE"] = before


@contextmanager
def mmpose(python: Path, root: Path, split: str) -> Iterator[Way]:
    """A process of mmpose's that takes its turn when it is told to."""
    program = str(Path(__file__).with_name("mmpose_samples.py"))
    command = [str(python), program, str(root), split, str(TURN)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        asked, told = process.stdin, process.stdout
        assert asked is not None and told is not None

        def take_turn() -> float:
            print(file=asked, flush=True)
            said = told.readline()
            if not said:
                raise SystemExit(f"{python} cannot run mmpose; what it said stands above")
            return float(said)

        yield take_turn
        asked.close()


def epochs(batches: Batches) -> Iterator[Batch]:
    """One epoch after another, for ever."""
    for epoch in count():
        yield from batches.epoch(epoch)


def find_ways(people: People, folder: str) -> dict[str, Way]:
    """Ours by their names; the cache lies in a folder."""
    codec, used = Gaussian(SIZE, 2.0), np.unique(people.picture).tolist()
    train = partial(Batches, people, codec=codec, batch_size=BATCH, augmentation=AUGMENTATION)
    original, in_order = train(source=open_pictures(people)), Batches(people, open_pictures(people), codec, BATCH)
    with using_cache(folder):
        cached = train(source=cut_regions(people, SIZE))
    return {
        "decoding alone, no more": partial(time_decoding, people, cycle(used)),
        "hrnas, from the original pictures, shuffled": partial(time_batches, epochs(original)),
        "hrnas, in the pictures' order, as evaluation goes": partial(time_batches, epochs(in_order)),
        "hrnas, from the cache, shuffled": partial(time_batches, epochs(cached)),
        "once, making the cache": partial(time_making, people),
        "at each start, finding it": partial(time_finding, people, folder),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--split", default="val2017")
    parser.add_argument("--mmpose", type=Path, metavar="PYTHON", help="a Python that can import mmpose")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--out", type=Path, help="write the table as CSV")
    arguments = parser.parse_args()
    people = read_coco_folder(arguments.root, arguments.split)
    with ExitStack() as stack:
        ways = find_ways(people, stack.enter_context(tempfile.TemporaryDirectory()))
        if arguments.mmpose:
            peer = mmpose(arguments.mmpose, arguments.root, arguments.split)
            ways = {"mmpose": stack.enter_context(peer), **ways}
        else:
            print("mmpose is left out: say --mmpose PYTHON, one that can import it")
        turns = [{name: take_turn() for name, take_turn in ways.items()} for _ in range(arguments.turns + 1)][1:]
    medians = {name: statistics.median(turn[name] for turn in turns) for name in ways}
    per_picture = len(people) / len(np.unique(people.picture))
    print(f"{len(people)} persons, {per_picture:.2f} in a picture; median of {len(turns)} turns of {TURN} samples")
    rows = []
    for name, median in medians.items():
        row: dict[str, object] = {"way": name, "cpu_ms": round(median, 3)}
        if arguments.mmpose:
            row["mmpose_ratio"] = round(medians["mmpose"] / median, 2)
        rows.append(row)
        print("  ".join(f"{value!s:<50}" if key == "way" else f"{key} {value}" for key, value in row.items()))
    if arguments.out:
        with arguments.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
