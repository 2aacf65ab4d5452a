"""What a driver is: it proposes genomes and hears what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from hrnas.space.genome import Gene, Genome

Costs = Callable[[Genome], Mapping[str, float]]  # what a genome's network costs by name, without training it


class Space(Protocol):
    """What the search needs of a search space."""

    @property
    def name(self) -> str: ...
    @property
    def genes(self) -> tuple[Gene, ...]: ...
    def canonical(self, genome: Genome) -> Genome: ...
    def sample(self, rng: np.random.Generator) -> Genome: ...
    def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome: ...
    def neighbours(self, genome: Genome) -> list[Genome]: ...


@dataclass(frozen=True)
class Ask:
    """A proposed genome, and what the driver wants to find again when it is rebuilt."""

    genome: Genome
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """What became of one proposal.

    Attributes:
        outcome: `measured` (also a duplicate of something measured), `infeasible`, `failed`, or `pending`.
        values: the goals in plain units; empty unless measured.
        excess: for each limit `cost / limit - 1`: above zero means broken.
        state: what the driver noted when it was asked; empty for proposals that were not its own.
    """

    number: int
    genome: Genome
    outcome: Literal["measured", "infeasible", "failed", "pending"]
    values: Mapping[str, float] = field(default_factory=dict)
    excess: Mapping[str, float] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)


class Driver(Protocol):
    """Ask and tell.

    A driver is a function of what it was told: the same tells and the same seed give the same genome, in this process
    or in one that was started after a crash. A number that is told again replaces what was told before.
    """

    def tell(self, told: Told) -> None: ...
    def ask(self, seed: int) -> Ask: ...


def seed_of_ask(base: int, number: int) -> int:
    """The seed of proposal `number`: of its own, so that a resumed study never repeats its first proposals."""
    return int(np.random.SeedSequence((base, number)).generate_state(1)[0])
