"""torch's update rules for parts of parameters: what a step did not use is neither read nor written.

The rules are torch's own functions; a weight's moments are as large as the weight, made when it first learns. A part
that rests keeps its moments as they are, and its weight does not drift on them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from hrnas.cards.trainer import Optimiser
from hrnas.nets.segments import Segments
from hrnas.nets.windows import window


class Update(NamedTuple):
    """A gradient for the window `part` of a stored weight of the segments `full`."""

    name: str
    weight: Tensor
    full: Segments
    part: Segments
    gradient: Tensor


class WindowedOptimiser:
    """Adam, AdamW or SGD as a trainer card says."""

    def __init__(self, card: Optimiser) -> None:
        self._card = card
        self.moments: dict[str, list[Tensor]] = {}  # of each weight that learnt; SGD has one
        self.counts: dict[str, int] = {}  # how often it learnt

    @torch.no_grad()
    def step(self, updates: Iterable[Update], rate: float) -> None:
        """Move the windows of all weights that have a gradient."""
        weights: list[Tensor] = []
        gradients: list[Tensor] = []
        moments: list[list[Tensor]] = [[], []]
        counts: list[Tensor] = []
        for update in updates:
            if update.name not in self.moments:
                number = 1 if self._card.kind == "sgd" else 2
                self.moments[update.name] = [torch.zeros_like(update.weight) for _ in range(number)]
                self.counts[update.name] = 0
            for there, here in window(update.full, update.part):
                weights.append(update.weight.detach()[there])
                gradients.append(update.gradient[here])
                counts.append(torch.tensor(float(self.counts[update.name])))
                for kept, moment in zip(moments, self.moments[update.name], strict=False):
                    kept.append(moment[there])
            self.counts[update.name] += 1
        self._apply(weights, gradients, moments, counts, rate)

    def _apply(
        self,
        weights: list[Tensor],
        gradients: list[Tensor],
        moments: list[list[Tensor]],
        counts: list[Tensor],
        rate: float,
    ) -> None:
        card = self._card
        common: dict[str, Any] = {"lr": rate, "weight_decay": card.weight_decay, "maximize": False, "foreach": True}
        if card.kind == "sgd":
            buffers: list[Tensor | None] = [*moments[0]]
            sgd(weights, gradients, buffers, momentum=card.momentum, dampening=0, nesterov=False, **common)
            return
        rule = adamw if card.kind == "adamw" else adam
        rule(
            weights,
            gradients,
            moments[0],
            moments[1],
            [],
            counts,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            eps=1e-8,
            **common,
        )

    def state(self) -> dict[str, Any]:
        """All moments and counts."""
        return {"moments": self.moments, "counts": self.counts}

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from a state."""
        self.moments = {name: [each.to(device) for each in kept] for name, kept in state["moments"].items()}
        self.counts = dict(state["counts"])
