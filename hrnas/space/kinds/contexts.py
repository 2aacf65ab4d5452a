"""Contexts: what one branch of a stage passes once, after the stage's last module."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hrnas.space.kinds.parts import PartOptions, Reducing, Reduction


class NoContext(PartOptions):
    """Nothing."""

    kind: Literal["none"]
    branch: ClassVar[int] = 1


class SpatialEnhancement(Reducing):
    """SDHRNet's SEM: every position hears of every other, and every channel of its neighbours.

    `branch` is counted from 1, the finest. `reduction`: of the queries and keys; `kernel`: over the order of channels.
    """

    kind: Literal["sem"]
    branch: Annotated[int, Field(ge=1, le=4)] = 3
    reduction: Reduction = 1
    kernel: Literal[3, 5, 7] = 5


Context = Annotated[NoContext | SpatialEnhancement, Field(discriminator="kind")]
