"""The one training loop: proxy trials and full training are the same code with different cards.

    batch -> network (bf16 where the card asks) -> loss in fp32 -> finite? -> clip -> optimiser step -> moving average

Everything that decides the next step is in `Training.state()`: weights, average, optimiser, place in the data and
torch's random state. The data's own randomness depends only on (seed, epoch, sample), so an interrupted run that is
loaded again ends with the same bits as one that was never interrupted (on the CPU, with the same number of threads).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hrnas.cards.trainer import Optimiser, Recipe
from hrnas.training.checkpoint import load_checkpoint, save_checkpoint
from hrnas.training.losses import LOSSES, is_finite
from hrnas.training.schedule import rate_factor

# ImageNet's statistics of RGB in 0..1, as every recipe of the family uses
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Diverged(RuntimeError):
    """Training cannot go on: the loss is not a finite number."""


class Batch(Protocol):
    """What the loop reads of a batch."""

    @property
    def images(self) -> np.ndarray: ...  # (batch, height, width, 3) uint8 RGB
    @property
    def targets(self) -> np.ndarray: ...  # (batch, keypoints, height / 4, width / 4) float32
    @property
    def weights(self) -> np.ndarray: ...  # (batch, keypoints) float32


class Batches(Protocol):
    """What the loop reads of a data set."""

    def __len__(self) -> int: ...  # steps in an epoch
    def epoch(self, epoch: int, first_step: int = 0) -> Iterable[Any]: ...


@dataclass(frozen=True)
class Progress:
    """Where a training run stands; `epoch` counts finished epochs, `loss` is the mean since the epoch began."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    seconds: float


OnProgress = Callable[[Progress], None]


def pick_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def to_input(images: np.ndarray, device: torch.device) -> Tensor:
    """uint8 RGB (batch, height, width, 3) -> normalised float32 (batch, 3, height, width) on the device."""
    pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()
    mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1) * 255
    std = torch.tensor(STD, device=device).view(1, 3, 1, 1) * 255
    return (pixels - mean) / std


class Training:
    """One network being trained by one recipe."""

    def __init__(self, net: nn.Module, recipe: Recipe, device: torch.device | str = "cpu") -> None:
        torch.set_flush_denormal(True)  # fresh networks are full of denormals, which cost a CPU tenfold
        self.device = torch.device(device)
        # the layout that pictures have anyway, and the quicker one for convolutions on CPUs and GPUs
        self.net: nn.Module = net.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe = recipe
        self.optimiser = _make_optimiser(net, recipe.optimiser)
        self.average = _make_average(net, recipe.ema)
        self.epoch = 0  # epochs finished
        self.step = 0  # steps taken in the epoch under way
        self._losses = 0.0

    @property
    def best_net(self) -> nn.Module:
        """The network to evaluate and keep: the moving average where the recipe has one."""
        return self.net if self.average is None else self.average.module

    def run(
        self,
        batches: Batches,
        until_epoch: int,
        *,
        from_epoch: int = 0,
        until_rate: int | None = None,
        on_progress: OnProgress | None = None,
        checkpoint: Path | None = None,
        save_every_seconds: float = 60.0,
    ) -> None:
        """Train until `until_epoch` epochs are finished, going on from where this training stands.

        Args:
            from_epoch: where this part of the schedule began (a rung's first epoch).
            until_rate: the epoch at which this part of the schedule ends, when training pauses before it.
            checkpoint: written at each epoch's end, and inside an epoch when the last one is `save_every_seconds` old.

        Raises:
            Diverged: the loss became infinite or not a number; the checkpoint still holds the last good state.
        """
        began = saved = time.monotonic()
        steps = len(batches)
        self.net.train()
        while self.epoch < until_epoch:
            for batch in batches.epoch(self.epoch, first_step=self.step):
                factor = rate_factor(
                    self.recipe.schedule, self.epoch * steps + self.step, steps, from_epoch, until_rate or until_epoch
                )
                self._losses += self._learn(batch, factor)
                self.step += 1
                if on_progress is not None:
                    seconds = time.monotonic() - began
                    mean = self._losses / self.step
                    on_progress(Progress(self.epoch, until_rate or until_epoch, self.step, steps, mean, seconds))
                if checkpoint is not None and time.monotonic() - saved > save_every_seconds:
                    self.save(checkpoint)
                    saved = time.monotonic()
            self.epoch, self.step, self._losses = self.epoch + 1, 0, 0.0
            if checkpoint is not None:
                self.save(checkpoint)
                saved = time.monotonic()

    def _learn(self, batch: Batch, factor: float) -> float:
        """One step; returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.optimiser.rate * factor
        images = to_input(batch.images, self.device)
        targets = torch.from_numpy(batch.targets).to(self.device)
        weights = torch.from_numpy(batch.weights).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.amp == "bf16"):
            heatmaps = self.net(images)
        loss = LOSSES[self.recipe.loss.kind](heatmaps.float(), targets, weights)
        if not is_finite(loss):
            raise Diverged(f"the loss is {loss.item()} in epoch {self.epoch + 1}, step {self.step + 1}")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip)
        self.optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.net)
        return loss.item()

    def state(self) -> dict[str, Any]:
        """Everything that decides the next step."""
        return {
            "net": self.net.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "losses": self._losses,
            "random": torch.get_rng_state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.net.load_state_dict(state["net"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.step, self._losses = state["epoch"], state["step"], state["losses"]
        torch.set_rng_state(state["random"].cpu())

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        save_checkpoint(path, self.state())

    def resume(self, path: Path) -> bool:
        """Go on from a checkpoint if there is one; says whether there was."""
        if not path.exists():
            return False
        self.load(load_checkpoint(path, self.device))
        return True


def _make_optimiser(net: nn.Module, card: Optimiser) -> torch.optim.Optimizer:
    parameters = [p for p in net.parameters() if p.requires_grad]
    if card.kind == "sgd":
        return torch.optim.SGD(parameters, lr=card.rate, momentum=card.momentum, weight_decay=card.weight_decay)
    kind = torch.optim.AdamW if card.kind == "adamw" else torch.optim.Adam
    return kind(parameters, lr=card.rate, weight_decay=card.weight_decay)


def _make_average(net: nn.Module, decay: float | None) -> AveragedModel | None:
    """A moving average of weights and buffers; at update n its decay is min(decay, (1 + n) / (10 + n))."""
    if decay is None:
        return None

    @torch.no_grad()
    def update(averaged: Any, current: Any, updates: Any) -> None:
        n = float(updates)
        if torch.is_floating_point(averaged[0]):
            torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))
        else:
            for mine, theirs in zip(averaged, current, strict=True):
                mine.copy_(theirs)

    average = AveragedModel(net, multi_avg_fn=update, use_buffers=True)
    for parameter in average.parameters():
        parameter.requires_grad_(False)
    return average
