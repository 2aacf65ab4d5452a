"""Proxy training: a few epochs, then scores on the held-out people; what the ladder of a study calls."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from hrnas.cards.study import Rung
from hrnas.cards.trainer import Recipe
from hrnas.nets.pose_net import PoseNet
from hrnas.pose.batches import Batches
from hrnas.pose.coco import People
from hrnas.pose.codecs import make_codec
from hrnas.pose.crops import PixelSource, cut_regions, open_pictures
from hrnas.reading import UserError, format_size
from hrnas.space.architecture import Architecture
from hrnas.space.kinds.heads import SimCCHead
from hrnas.training.evaluation import score_people
from hrnas.training.loop import OtherTraining, Progress, Training, check_amp
from hrnas.training.sources import load_sources

REACH = 1.25  # how much wider than the plain crop an augmented one may be and still come whole from the cache


def open_pixels(people: People, recipe: Recipe) -> PixelSource:
    """Where a recipe's crops come from: cached surroundings, or the original pictures as published recipes do."""
    return cut_regions(people, recipe.input, reach=REACH) if recipe.cache else open_pictures(people)


def make_net(architecture: Architecture, keypoints: int, recipe: Recipe, seed: int) -> PoseNet:
    """A network with fresh weights, drawn by seed as the recipe says.

    Raises:
        UserError: its head does not give what the recipe's codec reads.
    """
    _check_head(architecture, recipe)
    torch.manual_seed(seed)
    net = PoseNet(architecture, keypoints)
    net.reset_weights(recipe.start)
    return net


def _check_head(architecture: Architecture, recipe: Recipe) -> None:
    head, codec = architecture.head, recipe.codec
    if (head.kind == "simcc") != (codec.kind == "simcc"):
        raise UserError(f"codec: {codec.kind} does not read what the head {head.kind} gives; simcc belongs to simcc")
    if isinstance(head, SimCCHead) and head.split != codec.split:
        raise UserError(f"codec.split: {codec.split}, but the head has split {head.split}; they must be the same")


def training_identity(architecture: Architecture, recipe: Recipe, seed: int, persons: int) -> dict[str, str | int]:
    """What a checkpoint must agree in to be gone on from; how many epochs it is to last does not matter.

    Args:
        persons: how many are learnt from: a data label may stand for folders of different sizes.
    """
    return {
        "architecture": architecture.key,
        "recipe": recipe.fingerprint,
        "data": recipe.data.label,
        "persons": persons,
        "input": format_size(recipe.input),
        "seed": seed,
    }


class Inherited(Protocol):
    """Where a network's first weights come from, if they are not drawn; `weights` names them."""

    @property
    def weights(self) -> str: ...
    def network(self, architecture: Architecture) -> PoseNet: ...


def inherit(net: PoseNet, inherited: Inherited) -> None:
    """Give a network the weights that it inherits.

    Raises:
        UserError: they are for other keypoints.
    """
    state = inherited.network(net.architecture).state_dict()
    try:
        net.load_state_dict(state)
    except RuntimeError:
        raise UserError(
            f"{inherited.weights}: its networks find other keypoints than the {net.keypoints} here; start afresh"
        ) from None


class ProxyTrainer:
    """Train architectures for the rungs of a ladder, and score them on the held-out people.

    A rung goes on from the checkpoint of the rung below, with a warm-up and a cosine of its own; a broken attempt
    goes on from the last checkpoint it wrote. A checkpoint of another training is written over.
    """

    def __init__(self, recipe: Recipe, ladder: Sequence[Rung], device: torch.device | str = "cpu") -> None:
        """Read the data, and decode the pictures where the recipe keeps them: all mistakes in them are found here.

        Raises:
            UserError: the data are not as they must be, nothing is held out to score on, or the device cannot do what
                the recipe asks for.
        """
        self.recipe = recipe
        self.device = torch.device(device)
        check_amp(recipe, self.device)
        if recipe.data.kind == "mpii":
            raise UserError("data: a search ranks by OKS and AP, which MPII has not; search on coco or drawn people")
        if recipe.boxes.file is not None:
            raise UserError("data.boxes: a search ranks by held-out training people in their own boxes; leave it out")
        self._epochs = tuple(rung.epochs for rung in ladder if rung.epochs is not None)
        self.sources = load_sources(recipe.data)
        self.sources.refuse_faults()  # scores are compared with others of this data, as whole as it is
        if not len(self.sources.holdout):
            raise UserError("data.holdout: no picture is held out, so a search has nothing to score on; raise it")
        if len(self.sources.train) < recipe.batch_size:
            count = len(self.sources.train)
            raise UserError(f"batch_size: {recipe.batch_size} is more than the {count} persons to learn from")
        self._inherited: Inherited | None = None
        self.keypoints = len(self.sources.train.keypoint_set.names)
        self._train_pixels = open_pixels(self.sources.train, recipe)
        self._holdout_pixels = open_pixels(self.sources.holdout, recipe)

    def start_from(self, inherited: Inherited) -> None:
        """Let every training begin with the weights that its network inherits, instead of fresh ones."""
        self._inherited = inherited

    def on_ladder(self, ladder: Sequence[Rung]) -> ProxyTrainer:
        """The same data and recipe for the rungs of another ladder."""
        other = copy.copy(self)
        other._epochs = tuple(rung.epochs for rung in ladder if rung.epochs is not None)
        return other

    def __call__(
        self,
        architecture: Architecture,
        rung: Rung,
        seed: int,
        folder: Path,
        beat: Callable[[dict[str, Any]], None],
    ) -> Mapping[str, Any]:
        """Train up to the rung's epochs and score; `beat` hears of each step.

        Raises:
            Diverged: the loss or a gradient became infinite or not a number.
        """
        checkpoint = folder / f"training-seed{seed}.pt"
        training = self._begin(architecture, rung, seed, checkpoint)
        batches = Batches(
            self.sources.train,
            self._train_pixels,
            make_codec(self.recipe.codec, self.recipe.input),
            self.recipe.batch_size,
            augmentation=self.recipe.augmentation,
            seed=seed,
            threads=1,
        )

        def on_progress(at: Progress) -> None:
            beat(asdict(at))

        assert rung.epochs is not None
        below = max((epochs for epochs in self._epochs if epochs < rung.epochs), default=0)
        training.run(batches, rung.epochs, from_epoch=below, on_progress=on_progress, checkpoint=checkpoint)
        scores = score_people(training.best_net, self.sources.holdout, self._holdout_pixels, self.recipe, self.device)
        learnt_from = {"persons_train": len(self.sources.train)}
        return {**scores, **learnt_from, "epochs": rung.epochs, "loss": training.loss}

    def _begin(self, architecture: Architecture, rung: Rung, seed: int, checkpoint: Path) -> Training:
        """Training as far as its checkpoint goes; afresh if none is of this training and of this rung or below."""
        identity = training_identity(architecture, self.recipe, seed, len(self.sources.train))
        if self._inherited is not None:
            identity["start"] = self._inherited.weights
        identity["ladder"] = " ".join(map(str, self._epochs))

        def fresh() -> Training:
            net = make_net(architecture, self.keypoints, self.recipe, seed)
            if self._inherited is not None:
                inherit(net, self._inherited)
            return Training(net, self.recipe, self.device, identity)

        training = fresh()
        with suppress(OtherTraining):
            training.resume(checkpoint)
        return training if (training.epoch, training.step) <= (rung.epochs or 0, 0) else fresh()
