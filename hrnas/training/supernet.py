"""Train a supernet: the one training loop, whose step is taken by several networks of the space together.

batch -> for each network whose turn it is: its path -> loss -> gradients of its own size, added into those of the step
      -> their mean over all processes -> clip -> the weights that were used move
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hrnas.cards.supernet import Sandwich, SupernetCard
from hrnas.cards.trainer import Recipe
from hrnas.nets.segments import Segments
from hrnas.nets.supernet import Path, Supernet
from hrnas.nets.windows import hull, shape_of, window
from hrnas.reading import UserError
from hrnas.space.architecture import Architecture
from hrnas.training.loop import Batch, Diverged, Loop, autocast
from hrnas.training.losses import LOSSES, as_confidence, is_finite
from hrnas.training.paths import PathSampler, Role
from hrnas.training.ranks import ALONE, Ranks
from hrnas.training.windowed import Update, WindowedOptimiser

MOST_SKIPPED = 20  # steps in a row in which no network could learn


class SupernetTraining(Loop):
    """One supernet being trained by one recipe and one rule of turns.

    A network whose loss or gradient is not finite takes no part in its step; it is counted in `skipped`, by its key.

    Raises:
        UserError: the recipe asks for what a supernet cannot do.
        Diverged: in `MOST_SKIPPED` steps in a row no network could learn (raised by `run`).
    """

    def __init__(
        self,
        supernet: Supernet,
        recipe: Recipe,
        card: SupernetCard,
        device: torch.device | str = "cpu",
        identity: Mapping[str, str | int] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        _check(recipe)
        super().__init__(recipe, device, identity, ranks)
        self.supernet = supernet.to(self.device)
        self.card = card
        self.sampler = PathSampler(supernet.space, supernet.layout.ends, card)
        self.optimiser = WindowedOptimiser(recipe.optimiser)
        self.skipped: dict[str, int] = {}
        self._in_a_row = 0

    def _learn(self, batch: Batch, factor: float) -> float:
        images, targets, weights = self._to_device(batch)
        sums = GradientSums(self.supernet)
        teacher: Tensor | None = None
        losses = []
        turns = self.sampler.turns(self.epoch, self.step)
        for turn in turns:
            architecture = self.supernet.space.decode(turn.genome)
            path = self.supernet.path(architecture)
            with autocast(self.recipe, self.device):
                output = path.net(images).float()
            share = self._loss(output, targets, weights, turn.role, teacher)
            if not self._backward(share, path):
                self._skip(architecture)
                continue
            sums.add(path, 1 / len(turns))
            losses.append(self.ranks.mean(share.detach()).item())
            if turn.role == "teacher":
                teacher = output.detach()
        if not losses:
            self._in_a_row += 1
            if self._in_a_row >= MOST_SKIPPED:
                raise Diverged(
                    f"in {MOST_SKIPPED} steps no network had finite gradients, the last in epoch {self.epoch + 1}"
                )
            return 0.0
        self._in_a_row = 0
        self.ranks.average(sums.gradients())
        sums.clip(self.recipe.clip)
        self.optimiser.step(sums.updates(), self.recipe.optimiser.rate * factor)
        return losses[0]  # the teacher's, which is comparable from step to step

    def _loss(self, output: Tensor, targets: Tensor, weights: Tensor, role: Role, teacher: Tensor | None) -> Tensor:
        loss = LOSSES[self.recipe.loss.kind]
        rule = self.card.rule
        share = rule.distil if role == "student" and teacher is not None and isinstance(rule, Sandwich) else 0.0
        total = output.new_zeros(())
        if share < 1:
            total = total + (1 - share) * loss(output, targets, weights, self._parts)
        if share > 0 and teacher is not None:
            shown = as_confidence(teacher, self.recipe.loss.kind, self._parts)
            total = total + share * loss(output, shown, weights, self._parts)
        return total

    def _backward(self, share: Tensor, path: Path) -> bool:
        """Find a path's gradients; whether they are finite on all processes."""
        share.backward()
        found = [leaf.grad for leaf, _ in path.leaves.values() if leaf.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(found)))
        fine = is_finite(share) and is_finite(norm)
        return bool(self.ranks.mean(torch.tensor(float(fine), device=self.device)) == 1)

    def _skip(self, architecture: Architecture) -> None:
        self.skipped[architecture.key] = self.skipped.get(architecture.key, 0) + 1

    def state(self) -> dict[str, Any]:
        """Everything that decides the next step, and whose it is."""
        return {
            **super().state(),
            "weights": {name: weight.detach() for name, weight in self.supernet.weights.items()},
            "optimiser": self.optimiser.state(),
            "skipped": self.skipped,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Raises:
            UserError: the space has changed since.
        """
        self.supernet.load(state["weights"])
        self.optimiser.load(state["optimiser"], self.device)
        self.skipped = dict(state["skipped"])
        super().load(state)


class GradientSums:
    """The gradients of one step, each as large as the largest of the networks that have it."""

    def __init__(self, supernet: Supernet) -> None:
        self._supernet = supernet
        self._sums: dict[str, tuple[Tensor, Segments]] = {}

    @torch.no_grad()
    def add(self, path: Path, share: float) -> None:
        """Add a path's gradients times its share of the step."""
        for name, (leaf, segments) in path.leaves.items():
            if leaf.grad is None:
                continue
            gradient = leaf.grad.mul_(share)
            if name not in self._sums:
                self._sums[name] = gradient, segments
                continue
            total, size = self._wide_enough(name, segments)
            for there, here in window(size, segments):
                total[there] += gradient[here]

    def _wide_enough(self, name: str, segments: Segments) -> tuple[Tensor, Segments]:
        total, size = self._sums[name]
        wanted = hull(size, segments)
        if wanted != size:
            wider = total.new_zeros(shape_of(wanted))
            for there, here in window(wanted, size):
                wider[there] = total[here]
            self._sums[name] = wider, wanted
        return self._sums[name]

    def gradients(self) -> list[Tensor]:
        """All of them, in the order of their names."""
        return [self._sums[name][0] for name in sorted(self._sums)]

    @torch.no_grad()
    def clip(self, largest: float | None) -> None:
        """Scale all of them so that their common norm is at most `largest`."""
        if largest is None:
            return
        gradients = self.gradients()
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        torch._foreach_mul_(gradients, torch.clamp(largest / (norm + 1e-6), max=1.0).item())

    def updates(self) -> list[Update]:
        """What the optimiser reads."""
        store = self._supernet
        return [
            Update(name, store.weights[name], store.segments[name], segments, gradient)
            for name, (gradient, segments) in self._sums.items()
        ]


def _check(recipe: Recipe) -> None:
    problems = []
    if recipe.ema is not None:
        problems.append(
            "ema: a supernet keeps no moving average; leave it out, and let the rate fall (schedule: cosine)"
        )
    if recipe.amp == "fp16":
        problems.append("amp: a supernet trains in bf16 or in full precision; write amp: bf16 or amp: none")
    if recipe.sync_norm:
        problems.append("sync_norm: a supernet's norms go by each process's share of the batch; leave it out")
    if problems:
        raise UserError("\n".join(f"trainer {recipe.name}: {problem}" for problem in problems))
