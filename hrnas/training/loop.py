"""The one training loop: proxy trials, full training and supernets are the same code with different cards.

    batch -> network (bf16 or fp16 where the card asks) -> loss in fp32 -> gradients -> their mean over all processes
          -> all finite? -> clip -> optimiser step -> moving average

Everything that decides the next step is in `Training.state()`: weights, average, optimiser, fp16's scale, place in the
data and torch's random state; and whose training it is, so that none goes on from another one's. The data's own
randomness depends only on (seed, epoch, sample), so an interrupted run that is loaded again ends with the same bits as
one that was never interrupted (on the CPU, with the same number of threads and processes).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hrnas.cards.reading import Reading
from hrnas.cards.trainer import Optimiser, Recipe
from hrnas.pose.codecs import make_codec
from hrnas.reading import UserError
from hrnas.training.checkpoint import load_checkpoint, save_checkpoint
from hrnas.training.losses import LOSSES, is_finite
from hrnas.training.ranks import ALONE, Ranks
from hrnas.training.schedule import rate_factor

# ImageNet's statistics of RGB in 0..1, as every recipe of the family uses
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Diverged(RuntimeError):
    """Training cannot go on: the loss or a gradient is not a finite number."""


class Stopped(Exception):
    """Training was asked to stop and did; what it had learnt is saved where it saves anything."""


class OtherTraining(UserError):
    """A checkpoint that another training left: of another network, recipe, seed or data."""


class Batch(Protocol):
    """What the loop reads of a batch."""

    @property
    def images(self) -> np.ndarray: ...  # (batch, height, width, 3) uint8 RGB
    @property
    def targets(self) -> np.ndarray: ...  # (batch, keypoints, ...) float32
    @property
    def weights(self) -> np.ndarray: ...  # (batch, keypoints) float32


class Batches(Protocol):
    """What the loop reads of a data set."""

    def __len__(self) -> int: ...  # steps in an epoch
    def epoch(self, epoch: int, first_step: int = 0) -> Iterable[Any]: ...


@dataclass(frozen=True)
class Progress:
    """Where a training run stands; `epoch` counts finished epochs, `loss` is the mean since the epoch began, `waiting`
    the share of the `seconds` in which nothing was learnt because a batch was not ready."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    seconds: float
    waiting: float = 0.0


OnProgress = Callable[[Progress], None]


def pick_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_amp(recipe: Recipe, device: torch.device) -> None:
    """See that a device can compute as the card says.

    Raises:
        UserError: the card asks for bf16 or fp16, and the device has it not.
    """
    if recipe.amp == "none":
        return
    able = torch.amp.is_autocast_available(device.type)
    if recipe.amp == "fp16":  # CPUs gain by bf16 where they gain at all
        able = able and device.type == "cuda"
    elif device.type == "cuda":
        able = able and torch.cuda.is_bf16_supported(including_emulation=False)
    if not able:
        came = f"this device ({device.type}) cannot train in {recipe.amp}"
        raise UserError(f"amp: {came}; write amp: none in the trainer card")


def autocast(reading: Reading, device: torch.device) -> torch.autocast:
    """Inside, a network computes as the card's `amp` says."""
    return torch.autocast(device.type, AMP.get(reading.amp), enabled=reading.amp != "none")


def to_input(images: np.ndarray, device: torch.device) -> Tensor:
    """uint8 RGB (batch, height, width, 3) -> normalised float32 (batch, 3, height, width) on the device."""
    pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()
    mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1) * 255
    std = torch.tensor(STD, device=device).view(1, 3, 1, 1) * 255
    return (pixels - mean) / std


class Loop:
    """Steps and epochs, checkpoints, and going on: what all trainings have in common.

    Args:
        identity: whose training it is, name by name; `resume` goes on only from a checkpoint that says the same.
        ranks: the processes that train together; each gives `run` its own share of every batch.
    """

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device | str = "cpu",
        identity: Mapping[str, str | int] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        torch.set_flush_denormal(True)  # fresh networks are full of denormals, which cost a CPU tenfold
        self.recipe = recipe
        self.device = torch.device(device)
        self.identity = dict(identity or {})
        self.ranks = ranks
        self.epoch = 0  # epochs finished
        self.step = 0  # steps taken in the epoch under way
        self.loss: float | None = None  # mean of the last finished epoch
        self.waiting: float | None = None  # the share of the last `run` in which no batch was ready
        self._losses = 0.0
        self._parts = make_codec(recipe.codec, recipe.input).parts

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
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train until `until_epoch` epochs are finished, going on from where this training stands.

        Args:
            from_epoch: where this part of the schedule began (a rung's first epoch).
            until_rate: the epoch at which this part of the schedule ends, when training pauses before it.
            checkpoint: written at each epoch's end, and inside an epoch when the last one is `save_every_seconds` old.
            stop: asked before each step; where it says so on any of the processes, all of them stop.

        Raises:
            Diverged: the loss or a gradient became infinite or not a number; the weights are those of the step before,
                and the checkpoint still holds a good state.
            Stopped: `stop` said so; the checkpoint was written.
        """
        began = saved = asked = time.monotonic()
        waited = 0.0
        steps, epochs = len(batches), until_rate or until_epoch
        self._begin()
        while self.epoch < until_epoch:
            for batch in batches.epoch(self.epoch, first_step=self.step):
                waited += time.monotonic() - asked
                if self._any_says(stop):
                    if checkpoint is not None:
                        self.save(checkpoint)
                    raise Stopped(f"stopped in epoch {self.epoch + 1} of {epochs}, before step {self.step + 1}")
                taken = self.epoch * steps + self.step
                factor = rate_factor(self.recipe.schedule, taken, steps, from_epoch, epochs)
                self._losses += self._learn(batch, factor)
                self.step += 1
                seconds = time.monotonic() - began
                self.waiting = waited / seconds
                if on_progress is not None:
                    mean = self._losses / self.step
                    on_progress(Progress(self.epoch, epochs, self.step, steps, mean, seconds, self.waiting))
                if checkpoint is not None and time.monotonic() - saved > save_every_seconds:
                    self.save(checkpoint)
                    saved = time.monotonic()
                asked = time.monotonic()
            self.loss = self._losses / self.step
            self.epoch, self.step, self._losses = self.epoch + 1, 0, 0.0
            if checkpoint is not None:
                self.save(checkpoint)
                saved = asked = time.monotonic()

    def _any_says(self, stop: Callable[[], bool]) -> bool:
        """Whether any of the processes is to stop; the same answer on all of them."""
        return bool(self.ranks.mean(torch.tensor(float(stop()), device=self.device)) > 0)

    def _begin(self) -> None:
        """Before the first step of a `run`."""

    def _learn(self, batch: Batch, factor: float) -> float:
        """One step at `factor` times the peak rate; returns the loss, the mean over all processes."""
        raise NotImplementedError

    def _to_device(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Images, targets and weights."""
        targets, weights = (torch.from_numpy(each).to(self.device) for each in (batch.targets, batch.weights))
        return to_input(batch.images, self.device), targets, weights

    def state(self) -> dict[str, Any]:
        """Everything that decides the next step, and whose it is."""
        return {
            "identity": self.identity,
            "epoch": self.epoch,
            "step": self.step,
            "loss": self.loss,
            "losses": self._losses,
            "random": torch.get_rng_state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.epoch, self.step = state["epoch"], state["step"]
        self.loss, self._losses = state["loss"], state["losses"]
        torch.set_rng_state(state["random"])

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all; of several processes the first does."""
        if self.ranks.leads:
            save_checkpoint(path, self.state())

    def resume(self, path: Path) -> bool:
        """Go on from a checkpoint if there is one; says whether there was. Of several processes the first reads it.

        Raises:
            OtherTraining: it is of another training than this one; nothing was loaded.
        """
        state = self.ranks.lead(lambda: load_checkpoint(path) if path.exists() else None)
        if state is None:
            return False
        theirs = state.get("identity", {})
        if theirs != self.identity:
            names = [name for name in {**theirs, **self.identity} if theirs.get(name) != self.identity.get(name)]
            told = "; ".join(f"{name}: there {theirs.get(name)}, here {self.identity.get(name)}" for name in names)
            raise OtherTraining(
                f"{path}: this checkpoint is of another training ({told}); remove it, or choose another folder"
            )
        self.load(state)
        return True


class Training(Loop):
    """One network being trained by one recipe.

    Raises:
        UserError: the card asks for batch norms that several processes share, and they have no GPUs.
    """

    def __init__(
        self,
        net: nn.Module,
        recipe: Recipe,
        device: torch.device | str = "cpu",
        identity: Mapping[str, str | int] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__(recipe, device, identity, ranks)
        if recipe.sync_norm and ranks.count > 1:
            net = _share_norms(net, self.device)
        self.net = _channels_last(net.to(self.device))
        self.optimiser = _make_optimiser(net, recipe.optimiser)
        self.average = _make_average(net, recipe.ema)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.amp == "fp16")

    @property
    def best_net(self) -> nn.Module:
        """The network to evaluate and keep: the moving average where the recipe has one."""
        return self.net if self.average is None else self.average.module

    def _begin(self) -> None:
        self.net.train()

    def _learn(self, batch: Batch, factor: float) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.optimiser.rate * factor
        images, targets, weights = self._to_device(batch)
        with autocast(self.recipe, self.device):
            output = self.net(images)
        share = LOSSES[self.recipe.loss.kind](output.float(), targets, weights, self._parts)
        loss = self.ranks.mean(share)
        if not is_finite(loss):
            raise Diverged(f"the loss is {loss.item()} in epoch {self.epoch + 1}, step {self.step + 1}")
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(share).backward()
        if self.ranks.count > 1:
            self.ranks.average([*self._gradients(), *self._statistics()])
        self.scaler.unscale_(self.optimiser)
        norm = self._clip()
        if is_finite(norm):
            self.optimiser.step()
            if self.average is not None:
                self.average.update_parameters(self.net)
        elif self.scaler.get_scale() <= 1:  # a larger one may have been too large for fp16: `update` halves it
            # a finite loss may have infinite slopes, and one step along them ends the network
            raise Diverged(f"the gradient's norm is {norm.item()} in epoch {self.epoch + 1}, step {self.step + 1}")
        self.scaler.update()
        return loss.item()

    def _gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.net.parameters() if parameter.grad is not None]

    def _statistics(self) -> list[Tensor]:
        """What norms remember of the batches they saw."""
        return [buffer for buffer in self.net.buffers() if buffer.is_floating_point()]

    def _clip(self) -> Tensor:
        """Clip the gradients where the recipe says so; returns their norm as it was before."""
        if self.recipe.clip is not None:
            return nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip)
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(self._gradients())))

    def state(self) -> dict[str, Any]:
        """Everything that decides the next step, and whose it is."""
        return {
            **super().state(),
            "net": self.net.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.net.load_state_dict(state["net"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state.get("scaler", {}))  # checkpoints from before fp16 have none
        super().load(state)


def _share_norms(net: nn.Module, device: torch.device) -> nn.Module:
    """The same network, whose batch norms take their statistics over all processes' shares of a batch."""
    if device.type != "cuda":
        raise UserError(
            "sync_norm: processes share batch norms on GPUs only; write sync_norm: false, or use one process"
        )
    return nn.SyncBatchNorm.convert_sync_batchnorm(net)


def _channels_last(net: nn.Module) -> nn.Module:
    """The layout that pictures have anyway, and the quicker one for convolutions on CPUs and GPUs.

    `Module.to` would stop at weights of five dimensions (Dite-HRNet's stacks of kernels).
    """
    for parameter in net.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return net


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
