"""Contexts: what one branch of a stage passes once, before or after the stage's modules."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import Self

from hrnas.space.kinds.parts import OverChannels, PartOptions, Reducing, Reduction

Place = Literal["start", "end"]  # of the stage: between its transition and its modules, or after them


class NoContext(PartOptions):
    """Nothing."""

    kind: Literal["none"]
    branch: ClassVar[int] = 1
    place: ClassVar[Place] = "end"


class SemanticEnhancement(OverChannels, Reducing):
    """SDHRNet's SEM: every position hears of every other, and every channel of its neighbours.

    `branch` is counted from 1, the finest. `reduction`: of the queries and keys; 1 at the end of stage 3 and 8 at the
    start of stage 4, both on the coarsest branch, fit the paper's words and figures alike.
    """

    kind: Literal["sem"]
    branch: Annotated[int, Field(ge=1, le=4)] = 3
    place: Place = "end"
    reduction: Reduction = 1

    def canonical(self, widths: tuple[int, ...]) -> Self:
        return Reducing.canonical(OverChannels.canonical(self, widths), widths)


Context = Annotated[NoContext | SemanticEnhancement, Field(discriminator="kind")]
