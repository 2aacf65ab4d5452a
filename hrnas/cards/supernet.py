"""A study's supernet: by which trainer its shared weights learn, whose turn it is at each step, and how it is asked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hrnas.cards.trainer import Share
from hrnas.reading import Options


class Sandwich(Options):
    """The largest network, the smallest and some between, of one draw of kinds; the largest learns from the labels, the
    others from its heatmaps (`distil` 1), from the labels (0), or from both.

    BigNAS: Yu et al., ECCV 2020, arXiv 2003.11142, sections 3.1 and 3.2.
    """

    kind: Literal["sandwich"]
    random: int = Field(2, ge=0)
    distil: Share = 1.0


class SinglePath(Options):
    """One network at a time, drawn gene by gene. SPOS: Guo et al., ECCV 2020, arXiv 1904.00420."""

    kind: Literal["single_path"]


class Fair(Options):
    """As many networks as a category has kinds, so that each kind learns as often as any other, then one update.

    FairNAS: Chu et al., ICCV 2021, arXiv 1907.01845, section 3.2. A category with fewer kinds takes them in turn.
    """

    kind: Literal["fair"]


Rule = Annotated[Sandwich | SinglePath | Fair, Field(discriminator="kind")]


class SupernetCard(Options):
    """The section `supernet` of a study card.

    `trainer` is a trainer card; the study's data and input stand in for its own, and it keeps no moving average. In the
    first `warmup` epochs only the largest networks learn; widths, kernels and other sizes vary from epoch `sizes_from`
    on, numbers of modules and blocks from epoch `depths_from` on. `norms` are the batch norms' scales and shifts:
    `shared` like all weights, or `by_width`. A network is asked after its batch statistics were measured on
    `calibration` crops of the training part. Every `published_every` epochs (0: never) the published points of the
    space are asked, and their scores logged.
    """

    trainer: str
    rule: Rule = Sandwich(kind="sandwich")
    warmup: int = Field(0, ge=0)
    sizes_from: int = Field(0, ge=0)
    depths_from: int = Field(0, ge=0)
    norms: Literal["shared", "by_width"] = "shared"
    calibration: int = Field(256, ge=2)
    published_every: int = Field(0, ge=0)
    seed: int = Field(0, ge=0)
