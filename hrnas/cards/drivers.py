"""Who proposes the next network: the options of every driver."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hrnas.reading import Options

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


class RandomDriver(Options):
    """Uniform sampling without repetition: the baseline that every search must beat."""

    kind: Literal["random"]
    seed: Seed = 0


class OptunaDriver(Options):
    """One of Optuna's samplers: `tpe` (multivariate), `nsga2` or `nsga3` (small populations suit small budgets)."""

    kind: Literal["optuna"]
    sampler: Literal["tpe", "nsga2", "nsga3"] = "tpe"
    seed: Seed = 0
    population: int = Field(20, ge=2)
    startup: int = Field(10, ge=1)


Driver = Annotated[RandomDriver | OptunaDriver, Field(discriminator="kind")]
