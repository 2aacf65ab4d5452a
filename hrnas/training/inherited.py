"""Score networks with the weights of a supernet: extract, measure the batch statistics anew, find the held-out people.

architecture -> its weights out of the store -> statistics of a fixed set of crops -> mean OKS, AP
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from hrnas.cards.study import Rung
from hrnas.cards.supernet import SupernetCard
from hrnas.cards.trainer import Recipe
from hrnas.names import SUPERNET_FILE, SUPERNET_FOLDER, supernet_id
from hrnas.nets.pose_net import PoseNet
from hrnas.nets.supernet import Supernet, calibrate
from hrnas.pose.batches import Batches
from hrnas.pose.coco import People
from hrnas.pose.codecs import make_codec
from hrnas.reading import UserError, write_atomically
from hrnas.space.architecture import Architecture
from hrnas.space.search_space import SearchSpace
from hrnas.training.evaluation import EVALUATION_BATCH, score_people
from hrnas.training.loop import to_input
from hrnas.training.proxy import open_pixels
from hrnas.training.sources import Sources

WEIGHTS = "weights.safetensors"


class InheritedScores:
    """What each network of a supernet is worth before it is trained by itself; the same figures whenever it is asked.

    Args:
        recipe: of the supernet, on the study's data.

    Raises:
        UserError: there are fewer persons to learn from than crops asked for, or nobody is held out.
    """

    def __init__(
        self,
        supernet: Supernet,
        sources: Sources,
        recipe: Recipe,
        crops: int,
        device: torch.device | str = "cpu",
    ) -> None:
        if len(sources.train) < crops:
            raise UserError(
                f"supernet.calibration: {crops} crops, but there are {len(sources.train)} persons to learn from"
            )
        if not len(sources.holdout):
            raise UserError("data.holdout: no picture is held out, so there is nothing to score on; raise it")
        self.supernet, self.recipe, self.device = supernet, recipe, torch.device(device)
        chosen = np.sort(np.random.default_rng(0).permutation(len(sources.train))[:crops])
        self._crops = _plain_crops(sources.train.take(chosen), recipe, self.device)
        self._holdout, self._pixels = sources.holdout, open_pixels(sources.holdout, recipe)

    def network(self, architecture: Architecture) -> PoseNet:
        """A network with its inherited weights, its batch statistics measured; it shares nothing with any other."""
        net = self.supernet.extract(architecture)
        calibrate(net, self._crops)
        return net

    def scores(self, architecture: Architecture) -> dict[str, Any]:
        """Its scores on the held-out people, as a proxy's."""
        net = self.network(architecture)
        return score_people(net, self._holdout, self._pixels, self.recipe, self.device)


class SupernetEvaluator:
    """The evaluator of fidelity `inherited`, with the supernet that was trained in a study's run folder.

    Raises:
        UserError: there is no trained supernet, its space has changed, or the data are too few.
    """

    def __init__(
        self,
        folder: Path,
        space: SearchSpace,
        card: SupernetCard,
        recipe: Recipe,
        sources: Sources,
        device: torch.device | str = "cpu",
    ) -> None:
        keypoints = len(sources.train.keypoint_set.names)
        weights = load_weights(folder / SUPERNET_FOLDER)
        supernet = Supernet(space, keypoints, card.norms, weights=weights).to(torch.device(device))
        self.weights = f"supernet {supernet_id(folder)}"
        self.inherited = InheritedScores(supernet, sources, recipe, card.calibration, device)

    def network(self, architecture: Architecture) -> PoseNet:
        """A network with its inherited weights and statistics."""
        return self.inherited.network(architecture)

    def __call__(
        self,
        architecture: Architecture,
        rung: Rung,
        seed: int,
        folder: Path,
        beat: Callable[[dict[str, Any]], None],
    ) -> Mapping[str, Any]:
        """Scores with inherited weights; the seed changes nothing."""
        return {**self.inherited.scores(architecture), "weights": self.weights}


def save_supernet(folder: Path, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write the shared weights, and what they are; the name in `id` changes with every bit of them."""
    data = save({name: weight.detach().cpu().contiguous() for name, weight in weights.items()})
    (folder / SUPERNET_FILE).unlink(missing_ok=True)  # so that no crash leaves new weights under an old name
    write_atomically(folder / WEIGHTS, data)
    named = {"id": hashlib.sha256(data).hexdigest()[:10], **about}
    write_atomically(folder / SUPERNET_FILE, json.dumps(named, indent=2))


def load_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights of a supernet.

    Raises:
        UserError: there are none, or the file is none of ours.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise UserError(f"{folder}: there is no trained supernet here; `hrnas supernet train CARD` trains it")
    try:
        return load(path.read_bytes())
    except SafetensorError as error:
        raise UserError(f"{path}: not weights in the format safetensors: {error}") from None


def _plain_crops(people: People, recipe: Recipe, device: torch.device) -> list[Tensor]:
    """Their crops without augmentation, as networks see them."""
    batches = Batches(people, open_pixels(people, recipe), make_codec(recipe.codec, recipe.input), EVALUATION_BATCH)
    return [to_input(batch.images, device) for batch in batches.epoch()]
