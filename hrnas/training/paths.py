"""Whose turn it is: the networks of a space that take a supernet's next step together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hrnas.cards.supernet import Fair, Sandwich, SupernetCard
from hrnas.space.genome import Genome
from hrnas.space.search_space import SearchSpace

Role = Literal["teacher", "student", "alone"]  # teaches, learns from the teacher, learns from the labels


@dataclass(frozen=True)
class Turn:
    """A network's part in one step."""

    genome: Genome
    role: Role


class PathSampler:
    """Draws the networks of each step; the same ones whenever the step is taken.

    Args:
        ends: a genome whose ordered genes stand where networks are larger.
    """

    def __init__(self, space: SearchSpace, ends: Genome, card: SupernetCard) -> None:
        self._space, self._ends, self._card = space, ends, card
        self._sizes = [i for i, gene in enumerate(space.genes) if gene.ordered and not _is_depth(gene.path)]
        self._depths = [i for i, gene in enumerate(space.genes) if gene.ordered and _is_depth(gene.path)]

    def turns(self, epoch: int, step: int) -> list[Turn]:
        """The networks of a step, a teacher first."""
        rng = np.random.default_rng((self._card.seed, epoch, step))
        if epoch < self._card.warmup:
            return [Turn(self.largest(self._space.sample(rng)), "alone")]
        rule = self._card.rule
        if isinstance(rule, Sandwich):
            return self._sandwich(rule, rng, epoch)
        drawn = self._fairly(rng) if isinstance(rule, Fair) else [self._space.sample(rng)]
        return [Turn(self._opened(genome, epoch), "alone") for genome in drawn]

    def largest(self, genome: Genome) -> Genome:
        """The largest network of the same kinds."""
        return self._moved(genome, [*self._sizes, *self._depths], self._ends)

    def smallest(self, genome: Genome) -> Genome:
        """The smallest network of the same kinds."""
        other = [gene.size - 1 - end for gene, end in zip(self._space.genes, self._ends, strict=True)]
        return self._moved(genome, [*self._sizes, *self._depths], other)

    def _sandwich(self, rule: Sandwich, rng: np.random.Generator, epoch: int) -> list[Turn]:
        kinds = self._space.sample(rng)
        between = []
        for _ in range(rule.random):
            drawn = [int(rng.integers(gene.size)) for gene in self._space.genes]
            between.append(self._moved(kinds, [*self._sizes, *self._depths], drawn))
        students = [self._opened(genome, epoch) for genome in (self.smallest(kinds), *between)]
        return [Turn(self.largest(kinds), "teacher"), *(Turn(genome, "student") for genome in students)]

    def _fairly(self, rng: np.random.Generator) -> list[Genome]:
        genes = self._space.genes
        count = max((gene.size for gene in genes if not gene.ordered), default=1)
        columns = []
        for gene in genes:
            if gene.ordered:
                columns.append([int(rng.integers(gene.size)) for _ in range(count)])
            else:
                rounds = -(-count // gene.size)
                columns.append([int(value) for _ in range(rounds) for value in rng.permutation(gene.size)])
        return [self._space.canonical(genome) for genome in zip(*(column[:count] for column in columns), strict=True)]

    def _opened(self, genome: Genome, epoch: int) -> Genome:
        """The genome with what does not vary yet at its larger end."""
        closed = (self._sizes if epoch < self._card.sizes_from else []) + (
            self._depths if epoch < self._card.depths_from else []
        )
        return self._moved(genome, closed, self._ends)

    def _moved(self, genome: Genome, indexes: Sequence[int], to: Sequence[int]) -> Genome:
        changed = list(genome)
        for index in indexes:
            changed[index] = to[index]
        return self._space.canonical(tuple(changed))


def _is_depth(path: str) -> bool:
    return path.endswith((".modules", ".blocks"))
