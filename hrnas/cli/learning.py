"""The words on one network: train, import, predict, evaluate."""

from __future__ import annotations

import signal
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hrnas.cli.arguments import (
    ARCHITECTURE,
    DATA,
    JSON,
    QUIET,
    RUNS,
    TRAINER,
    Argument,
    as_count,
    as_seed,
    as_size,
    word,
)
from hrnas.cli.printing import brief, print_tree, table, to_json


@word(
    ARCHITECTURE,
    TRAINER,
    DATA,
    Argument("--input", "HxW", "the network's input in pixels, instead of the card's", as_size),
    Argument("--epochs", "N", "train so long, instead of as the card says", as_count),
    Argument("--batch-size", "N", "persons in a step, instead of the card's; the rate goes with it", as_count),
    Argument("--strict", "", "stop where an annotation or a picture is broken, instead of leaving it out"),
    Argument("--seed", "N", "of weights, order and augmentation (default: 0)", as_seed, 0),
    Argument("--init", "STUDY", "start from the weights that the study's supernet has for it, instead of fresh ones"),
    Argument("--out", "DIR", "where all of it goes (default: runs/trained/KEY-TRAINER-seedN)", Path),
    RUNS,
    QUIET,
    JSON,
)
def train(said: Namespace) -> int:
    """Train one architecture by a trainer card.

    It is trained from scratch and measured on the validation set. Training that was stopped goes on when the same
    command is given again; SIGTERM stops it at the next step. Several GPUs train it together when torchrun starts one
    process for each: torchrun --nproc-per-node 8 -m hrnas train ...
    """
    from hrnas.cards.trainer import load_recipe
    from hrnas.names import find_architecture, runs_folder, training_folder
    from hrnas.progress import TrainingProgress
    from hrnas.search.launch import open_supernet
    from hrnas.training.full import train_architecture
    from hrnas.training.loop import Diverged, Stopped
    from hrnas.training.ranks import join_ranks

    card = load_recipe(said.trainer)
    recipe = card.with_batch_size(said.batch_size).with_changes(input=said.input, epochs=said.epochs).at(said.data)
    architecture = find_architecture(said.architecture, said.runs)
    trained = runs_folder(said.runs) / "trained"
    out = said.out or training_folder(trained, architecture.key, recipe.name, said.seed)
    with noting_sigterm() as told_to_stop, join_ranks() as ranks:

        def say(text: str) -> None:
            if ranks.leads:
                print(text, file=sys.stderr)

        if recipe.batch_size != card.batch_size:
            rates = f"{recipe.optimiser.rate:g} instead of {card.optimiser.rate:g}"
            say(f"batch size {recipe.batch_size} instead of {card.batch_size}: the rate goes with it, {rates}")
        if recipe.data.kind != "drawn" and not said.quiet:
            say("every picture is opened once, to leave out those that are broken")
        with TrainingProgress(sys.stderr, quiet=said.quiet or not ranks.leads) as progress:
            try:
                start = None if said.init is None else open_supernet(said.init, said.runs)
                result = train_architecture(
                    architecture, recipe, out, said.seed, progress, ranks, told_to_stop, said.strict, start
                )
            except Diverged as error:
                say(f"training cannot go on: {error}; a lower rate may help; {out} holds its last state")
                return 1
            except Stopped as stopped:
                say(f"{stopped}: saved, and ready to resume; say the same again")
                return 0
    if result is None:  # another process speaks
        return 0
    if said.json:
        print(to_json(result))
    else:
        shown = {**result, "left_out": len(result["left_out"])}
        print(table((name, brief(value)) for name, value in shown.items()))
        print(f"\nall of it lies in {out}")
    if result["left_out"]:
        say(f"left out, because broken:\n{_first(result['left_out'])}")
    return 0


def _first(lines: list[str], most: int = 20) -> str:
    """The first lines of many, and how many more there are."""
    more = [f"and {len(lines) - most} more; result.json names all of them"] if len(lines) > most else []
    return "\n".join(f"  {line}" for line in [*lines[:most], *more])


@contextmanager
def noting_sigterm() -> Iterator[Callable[[], bool]]:
    """Inside, SIGTERM interrupts nothing; what is given tells whether it came."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGTERM, before)


@word(
    Argument("CHECKPOINT", "", "the .pth file of the network's authors, or of mmpose", Path),
    Argument("--as", "ARCHITECTURE", "take it for this one, instead of finding the published point"),
    Argument("--input", "HxW", "what it was trained on (default: 256x192; MPII's 256x256)", as_size),
    Argument("--keypoints", "CARD", "a YAML file on the keypoints, if neither COCO's 17 nor MPII's 16", Path),
    Argument("--out", "DIR", "where all of it goes (default: runs/imported/CHECKPOINT)", Path),
    RUNS,
    JSON,
)
def import_(said: Namespace) -> int:
    """Take over a network that others trained.

    Reads checkpoints of HRNet, Lite-HRNet and Dite-HRNet as their authors' code and mmpose write them, finds the
    published point that has their tensors, and leaves a folder as hrnas train does. Nothing in the checkpoint is run.
    """
    from hrnas.names import find_architecture, runs_folder
    from hrnas.official import import_checkpoint

    named = vars(said)["as"]
    architecture = None if named is None else find_architecture(named, said.runs)
    out = said.out or runs_folder(said.runs) / "imported" / said.checkpoint.stem
    document = import_checkpoint(said.checkpoint, out, said.input, architecture, said.keypoints)
    if said.json:
        print(to_json(document))
        return 0
    point, count = document["point"] or named, f"{document['matched']:,}"
    print(f"{document['family']}: {point} ({document['key']}), {document['keypoints']} keypoints, {document['input']}")
    print(f"{count} tensors matched" + (f", {len(document['new'])} counters begin at 0" if document["new"] else ""))
    for name in document["left"]:
        print(f"left: {name}")
    print(out)
    return 0


@word(
    Argument("WEIGHTS", "", "a folder that train or import left, or one of the weights in it", Path),
    Argument("PICTURES", "", "pictures, videos, and folders of them", Path, many=True),
    Argument("--out", "DIR", "where all of it goes", Path, required=True),
    Argument("--boxes", "FILE", "where the persons are: a detector's results or annotations, COCO JSON", Path),
    Argument("--heatmaps", "", "also draw how likely each place is a keypoint's"),
    Argument("--strict", "", "stop at the first file that cannot be read"),
    QUIET,
    JSON,
)
def predict(said: Namespace) -> int:
    """Find keypoints in pictures and videos with a trained network.

    Draws the skeletons it sees, and on request its heatmaps, and writes the keypoints down in COCO's result format.
    Boxes come from a COCO JSON; without one each picture is one person's box. Files that cannot be read are left out
    and named at the end; the exit status is then 1.
    """
    from hrnas.pose.frames import count_frames, list_files
    from hrnas.predict import predict as look
    from hrnas.progress import CountProgress
    from hrnas.training.trained import load_trained

    trained, files = load_trained(said.weights), list_files(said.pictures)
    frames = sum(map(count_frames, files))
    with CountProgress("pictures and frames", frames, sys.stderr, quiet=said.quiet) as progress:
        told = look(trained, files, said.out, said.boxes, said.heatmaps, said.strict, progress)
    if said.json:
        print(to_json({"out": str(said.out), **asdict(told)}))
    else:
        print(f"{told.persons:,} persons in {told.frames:,} pictures and frames: {said.out}")
        if told.without_boxes:
            print(f"{told.without_boxes:,} pictures have no box in {said.boxes} and were left out")
    for reason in told.broken:
        print(reason, file=sys.stderr)
    return 1 if told.broken else 0


@word(
    Argument("--predictions", "FILE", "COCO's result format, or a .mat with preds", Path, required=True),
    Argument("--annotations", "FILE", "COCO's format, or MPII's gt_valid.mat", Path, required=True),
    Argument("--keypoints", "CARD", "a YAML file that says of the keypoints what the annotations do not", Path),
    JSON,
)
def evaluate(said: Namespace) -> int:
    """Score anybody's keypoints.

    Takes a result file in COCO's format and annotations in the same, and gives COCO's ten figures, equal to
    pycocotools', and AP of each keypoint; or a .mat file of predictions and MPII's ground truth, and gives PCKh. The
    pictures are not needed.
    """
    from hrnas.pose.average_precision import ap_by_keypoint
    from hrnas.pose.metrics import evaluate_found
    from hrnas.pose.mpii import evaluate_mat
    from hrnas.pose.results import read_results

    scores: dict[str, Any]
    if said.annotations.suffix == ".mat":
        scores = evaluate_mat(said.predictions, said.annotations)
    else:
        truth, found = read_results(said.predictions, said.annotations, said.keypoints)
        scores = {**evaluate_found(truth, found), "detections": len(found.scores)}
        scores["ap_by_keypoint"] = ap_by_keypoint(truth, found)
    untold = dict.fromkeys(("split", "boxes", "input", "flip_test"))
    document = {"predictions": str(said.predictions), "data": str(said.annotations), **untold, **scores}
    if said.json:
        print(to_json(document))
        return 0
    for name, value in document.items():
        if name not in untold:
            print_tree(name, value)
    print(f"not told by such files: {', '.join(untold)}")
    return 0
