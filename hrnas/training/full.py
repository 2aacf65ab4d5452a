"""Train one architecture by a trainer card, from scratch or from where it stopped, and report on the validation set.

The folder that it leaves:

    architecture.yaml  recipe.yaml     what was trained, and how
    training.pt                        the last checkpoint: the same command goes on from it
    weights.safetensors                the network to use (the moving average where there is one) of the last evaluation
    best.safetensors                   the same of the evaluation with the best AP (MPII: PCKh)
    result.json                        the scores of the last evaluation
    log.csv                            a line for each evaluation, written when all its other files are
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from hrnas.cards.trainer import Recipe
from hrnas.pose.batches import Batches
from hrnas.pose.codecs import make_codec
from hrnas.reading import UserError, format_size, read_yaml, write_atomically, write_yaml
from hrnas.space.architecture import Architecture
from hrnas.training.evaluation import score_people
from hrnas.training.loop import Progress, Training, check_amp, pick_device
from hrnas.training.proxy import make_net, open_pixels, training_identity
from hrnas.training.sources import load_sources

LOGGED = {  # by what a network is judged when it is fully trained
    "ap": ("epoch", "loss", "seconds", "ap", "ap50", "ap75", "ap_m", "ap_l", "ar", "oks"),
    "pckh": ("epoch", "loss", "seconds", "pckh"),
}


def train_architecture(
    architecture: Architecture,
    recipe: Recipe,
    out: Path,
    seed: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Train by the whole recipe; AP and the rest (MPII: PCKh) are measured on the validation set with true boxes.

    Raises:
        UserError: the data are not as they must be, the device cannot do what the recipe asks for, or `out` holds
            another training; then nothing was written.
        Diverged: the loss or a gradient became infinite or not a number.
    """
    began = time.monotonic()
    device = pick_device()
    check_amp(recipe, device)
    sources = load_sources(recipe.data)
    persons = len(sources.train)
    if not persons:
        raise UserError("data.holdout: all pictures are held out, so nobody is left to learn from; lower it")
    train_pixels, pixels = open_pixels(sources.train, recipe), open_pixels(sources.val, recipe)
    net = make_net(architecture, len(sources.train.keypoint_set.names), recipe, seed)
    training = Training(net, recipe, device, training_identity(architecture, recipe, seed, persons))
    cards = _check_folder(out, architecture, recipe, seed)
    training.resume(out / "training.pt")
    for name, tree in cards.items():
        write_yaml(out / name, tree)
    batches = Batches(
        sources.train,
        train_pixels,
        make_codec(recipe.codec, recipe.input),
        recipe.batch_size,
        augmentation=recipe.augmentation,
        seed=seed,
        threads=1,
    )
    measure = "pckh" if recipe.data.kind == "mpii" else "ap"
    log = _read_log(out / "log.csv", training.epoch)
    while True:
        due = training.epoch == recipe.epochs or (training.epoch and training.epoch % recipe.evaluate_every == 0)
        if due and not any(line["epoch"] == training.epoch for line in log):
            scores = score_people(training.best_net, sources.val, pixels, recipe, device)
            scores = {**scores, "score": scores[measure], "persons_train": persons}
            log.append({"epoch": training.epoch, "loss": training.loss, "seconds": time.monotonic() - began, **scores})
            _save_weights(out / "weights.safetensors", training.best_net)
            if scores[measure] >= max(line[measure] for line in log):
                _save_weights(out / "best.safetensors", training.best_net)
            _write_result(out, architecture, recipe, training.epoch, seed, scores)
            _write_log(out / "log.csv", log, LOGGED[measure])  # last: an evaluation without its line is made again
        if training.epoch >= recipe.epochs:
            return json.loads((out / "result.json").read_text(encoding="utf-8"))
        training.run(
            batches,
            training.epoch + 1,
            until_rate=recipe.epochs,
            on_progress=on_progress,
            checkpoint=out / "training.pt",
        )


def _check_folder(out: Path, architecture: Architecture, recipe: Recipe, seed: int) -> dict[str, Any]:
    """See that nothing else was begun here; returns the cards that say what is trained, by file name.

    Raises:
        UserError: the folder holds the training of something else.
    """
    wanted = {"seed": seed, **recipe.model_dump(mode="json")}
    cards = {"architecture.yaml": {"architecture": architecture.tree()}, "recipe.yaml": wanted}
    cards = json.loads(json.dumps(cards))  # tuples become lists, as YAML reads them
    for name, tree in cards.items():
        path = out / name
        if path.exists() and read_yaml(path) != tree:
            raise UserError(f"{path}: this folder holds the training of something else; say another one with --out")
    return cards


def _save_weights(path: Path, net: nn.Module) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    write_atomically(path, save(tensors))


def _read_log(path: Path, epoch: int) -> list[dict[str, Any]]:
    """The lines of a log up to an epoch."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        lines = [{name: float(value) for name, value in line.items() if value} for line in csv.DictReader(file)]
    return [{**line, "epoch": int(line["epoch"])} for line in lines if line["epoch"] <= epoch]


def _write_log(path: Path, log: list[dict[str, Any]], columns: Sequence[str]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(log)
    write_atomically(path, text.getvalue())


def _write_result(
    out: Path, architecture: Architecture, recipe: Recipe, epoch: int, seed: int, scores: dict[str, Any]
) -> None:
    result = {
        "key": architecture.key,
        "recipe": f"{recipe.name} {recipe.fingerprint}",
        "epochs": epoch,
        "seed": seed,
        "data": recipe.data.label,
        "split": "val",
        "boxes": "ground truth",
        "input": format_size(recipe.input),
        "flip_test": recipe.flip_test,
        **scores,
    }
    write_atomically(out / "result.json", json.dumps(result, indent=2))
