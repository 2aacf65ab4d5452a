"""Train one architecture by a trainer card, from scratch or from where it stopped, and report on the validation set.

    an epoch -> checkpoint -> evaluation, when it is due -> the next epoch

What it leaves in its folder is told in `hrnas/training/folder.py`. Several processes may train it together; all of them
run this file, and the first evaluates and writes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hrnas.cards.trainer import Recipe
from hrnas.pose.batches import Batches
from hrnas.pose.coco import People
from hrnas.pose.codecs import make_codec
from hrnas.reading import UserError, format_size
from hrnas.space.architecture import Architecture
from hrnas.training.evaluation import find_candidates, score_candidates
from hrnas.training.folder import RunFolder
from hrnas.training.loop import OnProgress, Stopped, Training, check_amp, pick_device
from hrnas.training.proxy import Inherited, inherit, make_net, open_pixels, training_identity
from hrnas.training.ranks import ALONE, Ranks
from hrnas.training.samples import draw_samples, pick_samples
from hrnas.training.sources import find_broken_pictures, leave_out_pictures, load_sources


def train_architecture(
    architecture: Architecture,
    recipe: Recipe,
    out: Path,
    seed: int = 0,
    on_progress: OnProgress | None = None,
    ranks: Ranks = ALONE,
    stop: Callable[[], bool] = lambda: False,
    strict: bool = False,
    start: Inherited | None = None,
) -> dict[str, Any] | None:
    """Train by the whole recipe; AP and the rest (MPII: PCKh) are measured on the validation set.

    Args:
        ranks: the processes that train it together, each with its share of every batch.
        stop: asked before each step and within evaluations; then the same call goes on later as if nothing had been.
        strict: whether broken annotations and pictures are an error; else they are left out, and the result names them.
        start: gives the weights to begin with, instead of fresh ones.

    Returns:
        The document that result.json holds; None on processes that do not lead.

    Raises:
        UserError: the data are not as they must be, the device cannot do what the recipe asks for, or `out` holds
            another training; then nothing was written.
        Diverged: the loss or a gradient became infinite or not a number.
        Stopped: `stop` said so.
    """
    began = time.monotonic()
    device = pick_device()
    check_amp(recipe, device)
    sources = load_sources(recipe.data)
    broken = ranks.lead(lambda: find_broken_pictures(sources, whole_val=recipe.boxes.file is not None))
    sources = leave_out_pictures(sources, broken)
    if strict:
        sources.refuse_faults()
    batches = _make_batches(sources.train, recipe, seed, ranks, device)
    candidates, persons = find_candidates(recipe, sources.val), len(sources.train)
    net = make_net(architecture, len(sources.train.keypoint_set.names), recipe, seed)
    identity = training_identity(architecture, recipe, seed, persons)
    if start is not None:
        inherit(net, start)
        identity["start"] = start.weights
    training = Training(net, recipe, device, identity, ranks)
    folder = ranks.lead(lambda: RunFolder(out, architecture, recipe, sources.train.keypoint_set, seed))
    training.resume(folder.checkpoint)
    if ranks.leads:
        folder.begin(training.epoch)
        pixels, samples = open_pixels(candidates.people, recipe), pick_samples(sources.val)

    def evaluate() -> None:
        def on_batch(_: int) -> None:
            if stop():
                raise Stopped(f"stopped after epoch {training.epoch} of {recipe.epochs}, before its evaluation")

        net = training.best_net
        scores = score_candidates(net, sources.val, candidates, pixels, recipe, device, on_batch)
        result = {
            **_describe(architecture, recipe, training.epoch, seed, ranks),
            **scores,
            "score": scores[folder.measure],
            "persons_train": persons,
            "left_out": [str(fault) for fault in sources.faults],
        }
        seconds = time.monotonic() - began
        times = {"epoch": training.epoch, "loss": training.loss, "seconds": seconds, "waiting": training.waiting}
        folder.add_evaluation(times, result, net, draw_samples(net, samples, recipe, device))

    while True:
        due = training.epoch == recipe.epochs or (training.epoch and training.epoch % recipe.evaluate_every == 0)
        if due and ranks.leads and not folder.is_evaluated(training.epoch):
            try:
                evaluate()
            except Stopped:
                if training.epoch == recipe.epochs:
                    raise
                # the others wait for this process before their next step, and stop there with it
        if training.epoch >= recipe.epochs:
            return folder.result() if ranks.leads else None
        training.run(
            batches,
            training.epoch + 1,
            until_rate=recipe.epochs,
            on_progress=on_progress,
            checkpoint=folder.checkpoint,
            stop=stop,
        )
        if ranks.leads:
            rate = training.optimiser.param_groups[0]["lr"]
            folder.add_epoch(training.epoch, {"loss": training.loss, "rate": rate, "waiting": training.waiting})


def _describe(architecture: Architecture, recipe: Recipe, epoch: int, seed: int, ranks: Ranks) -> dict[str, Any]:
    """What scores stand for."""
    return {
        "key": architecture.key,
        "recipe": f"{recipe.name} {recipe.fingerprint}",
        "epochs": epoch,
        "batch_size": recipe.batch_size,
        "rate": recipe.optimiser.rate,
        "processes": ranks.count,
        "seed": seed,
        "data": recipe.data.label,
        "split": "val",
        "boxes": recipe.boxes.label,
        "input": format_size(recipe.input),
        "flip_test": recipe.flip_test,
        "pixels": recipe.pixels,
    }


def _make_batches(people: People, recipe: Recipe, seed: int, ranks: Ranks, device: torch.device) -> Batches:
    """This process's shares of all batches.

    Raises:
        UserError: there is nobody to learn from, or a batch cannot be shared evenly.
    """
    if not len(people):
        raise UserError("data.holdout: all pictures are held out, so nobody is left to learn from; lower it")
    batch = min(recipe.batch_size, len(people))
    if batch % ranks.count:
        raise UserError(f"batch_size: {batch} cannot be shared evenly by {ranks.count} processes; see --batch-size")
    cores = os.cpu_count() or 1 if device.type == "cuda" else 1  # on a CPU the network needs the others itself
    return Batches(
        people,
        open_pixels(people, recipe),
        make_codec(recipe.codec, recipe.input),
        recipe.batch_size,
        augmentation=recipe.augmentation,
        seed=seed,
        threads=max(1, cores // ranks.here),
        share=(ranks.rank, ranks.count),
    )
