"""A genome: one whole number for each choice of a space, always the same length: drivers work on that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Genome = tuple[int, ...]


@dataclass(frozen=True)
class Gene:
    """One decision of a space: the place it decides, and what may stand there.

    Attributes:
        path: where in the architecture's tree, e.g. `stages[1].row.kind`; `stages[all]` decides for every stage at
        once.
        values: what may stand there, in order; a genome holds the index.
        ordered: the values are numbers on a line (a stepped integer to a driver); otherwise they are categories.
        when: further conditions, `(path, allowed values)`; all must hold for the gene to be active.
    """

    path: str
    values: tuple[Any, ...]
    ordered: bool
    when: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.values)
