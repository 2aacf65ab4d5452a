"""Train the supernet of a study in the folder `supernet` of its run, from scratch or from where it stopped.

training.pt           the last checkpoint: the same command goes on from it
log.csv               a line for each epoch: loss, seconds, networks that took no part in a step
published.csv         what the published points of the space scored with inherited weights, when that was asked
weights.safetensors   the shared weights at the end
supernet.json         what they are: space, trainer, rule, wall and CPU seconds
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hrnas.cards.supernet import SupernetCard
from hrnas.cards.trainer import Recipe
from hrnas.names import SUPERNET_FILE
from hrnas.nets.supernet import Supernet
from hrnas.pose.batches import Batches
from hrnas.pose.codecs import make_codec
from hrnas.reading import UserError, format_size, write_atomically
from hrnas.space.architecture import Architecture
from hrnas.space.search_space import SearchSpace
from hrnas.training.inherited import InheritedScores, save_supernet
from hrnas.training.loop import OnProgress, check_amp
from hrnas.training.proxy import open_pixels
from hrnas.training.ranks import ALONE, Ranks
from hrnas.training.sources import Sources, load_sources
from hrnas.training.supernet import SupernetTraining

LOG, PUBLISHED, CHECKPOINT = "log.csv", "published.csv", "training.pt"


def train_supernet(
    space: SearchSpace,
    card: SupernetCard,
    recipe: Recipe,
    folder: Path,
    published: Sequence[tuple[str, Architecture]] = (),
    device: torch.device | str = "cpu",
    on_progress: OnProgress | None = None,
    ranks: Ranks = ALONE,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train the shared weights of a space by the whole recipe.

    Args:
        recipe: the supernet's trainer card on the study's data and input.
        published: points of the space, asked every `card.published_every` epochs.

    Returns:
        The document that supernet.json holds.

    Raises:
        UserError: card, recipe, data and folder do not go together; then nothing was written.
        Diverged: no network could learn any more.
        Stopped: `stop` said so; the same call goes on.
    """
    device = torch.device(device)
    check_amp(recipe, device)
    sources = load_sources(recipe.data)
    sources.refuse_faults()
    if len(sources.train) < recipe.batch_size:
        raise UserError(f"batch_size: {recipe.batch_size} is more than the {len(sources.train)} persons to learn from")
    supernet = Supernet(space, len(sources.train.keypoint_set.names), card.norms, recipe.start, card.seed)
    identity = _identity(space, card, recipe, len(sources.train))
    training = SupernetTraining(supernet, recipe, card, device, identity, ranks)
    inherited = InheritedScores(supernet, sources, recipe, card.calibration, device)
    training.resume(folder / CHECKPOINT)
    log, batches = _Log(folder), _batches(sources, recipe, card.seed, ranks)
    while training.epoch < recipe.epochs:
        began, cpu_began = time.monotonic(), time.process_time()
        training.run(
            batches,
            training.epoch + 1,
            until_rate=recipe.epochs,
            on_progress=on_progress,
            checkpoint=folder / CHECKPOINT,
            stop=stop,
        )
        if not ranks.leads:
            continue
        skipped = sum(training.skipped.values())
        spent = {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - cpu_began}
        log.add(LOG, epoch=training.epoch, loss=training.loss, **spent, skipped=skipped)
        if card.published_every and training.epoch % card.published_every == 0:
            for name, architecture in published:
                found = inherited.scores(architecture)
                log.add(PUBLISHED, epoch=training.epoch, name=name, score=found["score"], ap=found["ap"])
    if ranks.leads:
        about = {
            **identity,
            "params": supernet.layout.params,
            "tensors": len(supernet.layout.segments),
            "seconds": log.total("seconds"),
            "cpu_seconds": log.total("cpu_seconds"),  # of this process
            "skipped": training.skipped,
        }
        save_supernet(folder, supernet.weights, about)
        return dict(json.loads((folder / SUPERNET_FILE).read_text(encoding="utf-8")))
    return dict(identity)


def _identity(space: SearchSpace, card: SupernetCard, recipe: Recipe, persons: int) -> dict[str, str | int]:
    """What a checkpoint must agree in to be gone on from; the space's parameters are compared one by one."""
    rule = card.model_dump(mode="json", exclude={"trainer", "calibration", "published_every"})
    return {
        "space": space.name,
        "rule": json.dumps(rule, sort_keys=True),
        "recipe": recipe.fingerprint,
        "epochs": recipe.epochs,
        "data": recipe.data.label,
        "persons": persons,
        "input": format_size(recipe.input),
    }


def _batches(sources: Sources, recipe: Recipe, seed: int, ranks: Ranks) -> Batches:
    return Batches(
        sources.train,
        open_pixels(sources.train, recipe),
        make_codec(recipe.codec, recipe.input),
        recipe.batch_size,
        augmentation=recipe.augmentation,
        seed=seed,
        threads=1,
        share=(ranks.rank, ranks.count),
    )


class _Log:
    """Tables of a run folder; a line of an epoch that is trained again takes the place of the old one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, file: str, **row: Any) -> None:
        rows = self._read(file)
        same = [name for name in ("epoch", "name") if name in row]
        rows = [old for old in rows if [old[name] for name in same] != [str(row[name]) for name in same]]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows([*rows, row])
        write_atomically(self._folder / file, text.getvalue())

    def total(self, column: str) -> float:
        return sum(float(row.get(column) or 0) for row in self._read(LOG))

    def _read(self, file: str) -> list[Mapping[str, str]]:
        path = self._folder / file
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
