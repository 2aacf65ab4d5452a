"""Who proposes the next network: the options of every driver."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hrnas.reading import Number, Options

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Positive = Annotated[Number, Field(gt=0)]


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


class NniDriver(Options):
    """One of NNI's tuners; needs the extra `nni`. `grid` walks through a space from one corner: for small spaces.

    NNI's tuners see one number, so that several goals become one, the higher the better:

        sum of weight x score  -  sum of weight x log(cost / target)

    where a cost below its target counts as the target. A score has weight 1 and a cost 0.07 unless `weights` says
    otherwise: 0.07 trades a doubled cost against 0.05 of the score. A cost that `targets` does not name has no target:
    smaller is always better. Such a number leads to one region of the front; other weights or targets, in another
    study, lead to others. A proposal outside the limits counts as worse than everything measured, the more so the
    farther out.

    `population` is of both evolutions, of which `regularized_evolution` draws a `sample` for each child; `startup`
    proposals of `tpe` are random.
    """

    kind: Literal["nni"]
    tuner: Literal["tpe", "evolution", "regularized_evolution", "random", "grid"] = "tpe"
    seed: Seed = 0
    weights: dict[str, Positive] = {}
    targets: dict[str, Positive] = {}
    population: int = Field(20, ge=2)
    sample: int = Field(5, ge=1)
    startup: int = Field(10, ge=1)


Driver = Annotated[RandomDriver | OptunaDriver | NniDriver, Field(discriminator="kind")]
