"""Who proposes the next network: the options of every driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from hrnas.reading import Number, Options

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Positive = Annotated[Number, Field(gt=0)]

GP_GOALS, GP_TRIALS = 3, 500


class _DriverOptions(Options):
    """What drivers have in common.

    With `predictor: on` a model lets the best of eight proposals of the driver through, as soon as it ranks networks
    that it has not seen better than one of their costs does by itself. The model driver needs none.
    """

    @model_validator(mode="before")
    @classmethod
    def _no_option_of_another(cls, given: Any) -> Any:
        found = []
        for name in given if isinstance(given, dict) else ():
            others = [] if name in cls.model_fields else [_kind(o) for o in _drivers() if name in o.model_fields]
            if others:
                found.append(
                    f"{name} is an option of {', '.join(others)}, {_kind(cls)} has {', '.join(cls.model_fields)}"
                )
        if found:
            raise ValueError("; ".join(found))
        return given

    def cannot(self, goals: Sequence[str], trials: int) -> str | None:
        """Why this driver cannot search for so many goals or trials, and which can; `None`: it can."""
        return None


class RandomDriver(_DriverOptions):
    """Uniform sampling without repetition: the baseline that every search must beat."""

    kind: Literal["random"]
    seed: Seed = 0
    predictor: bool = False


class EvolutionDriver(_DriverOptions):
    """Regularised evolution: the latest `population` live, the best of a `sample` of them has the next child.

    `crossover` is the probability that a child has two parents; `population` random proposals begin.
    """

    kind: Literal["evolution"]
    seed: Seed = 0
    population: int = Field(20, ge=2)
    sample: int = Field(5, ge=1)
    crossover: Annotated[Number, Field(ge=0, le=1)] = 0.5
    predictor: bool = False


class LocalDriver(_DriverOptions):
    """Pareto local search: a neighbour of what is on the front; `startup` random proposals begin."""

    kind: Literal["local"]
    seed: Seed = 0
    startup: int = Field(10, ge=1)
    predictor: bool = False


class ModelDriver(_DriverOptions):
    """Of `candidates` near the front the one from which a model expects most hypervolume; exact costs, guessed scores.

    `startup` proposals with costs far apart begin: the model learns from five networks at least.
    """

    kind: Literal["model"]
    seed: Seed = 0
    startup: int = Field(6, ge=5)
    candidates: int = Field(100, ge=1)


class OptunaDriver(_DriverOptions):
    """One of Optuna's samplers: `tpe` (multivariate), `nsga2`, `nsga3` (small populations suit small budgets) or `gp`.

    `population` is of the two genetic ones, `startup` random proposals begin for the other two. `gp` takes seconds for
    each proposal (two goals and 27 genes: 1.4 s after 50 trials, 1.9 s after 200; four goals: more than 5 s after 50).
    """

    kind: Literal["optuna"]
    sampler: Literal["tpe", "nsga2", "nsga3", "gp"] = "tpe"
    seed: Seed = 0
    population: int = Field(20, ge=2)
    startup: int = Field(10, ge=1)
    predictor: bool = False

    def cannot(self, goals: Sequence[str], trials: int) -> str | None:
        """Why this sampler cannot search for so many goals or trials, and which can; `None`: it can."""
        if self.sampler != "gp" or (len(goals) <= GP_GOALS and trials <= GP_TRIALS):
            return None
        return (
            f"Optuna's gp can do {GP_GOALS} goals and {GP_TRIALS} trials at most in useful time, this study has "
            f"{len(goals)} and {trials}: tpe, nsga2 and nsga3 can do it, and so can kind: model"
        )


class NniDriver(_DriverOptions):
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
    predictor: bool = False

    def cannot(self, goals: Sequence[str], trials: int) -> str | None:
        """Why not: a weight or a target of what is no goal, or a target of a score; `None`: it can."""
        strangers = [f"weights.{name}" for name in self.weights if name not in goals]
        strangers += [f"targets.{name}" for name in self.targets if name not in goals or name in ("score", "ap")]
        if not strangers:
            return None
        there = ", ".join(goals)
        return f"{', '.join(strangers)}: a weight belongs to a goal, a target to a cost among the goals ({there})"


Driver = Annotated[
    RandomDriver | EvolutionDriver | LocalDriver | ModelDriver | OptunaDriver | NniDriver, Field(discriminator="kind")
]


def _drivers() -> tuple[type[Options], ...]:
    return get_args(get_args(Driver)[0])


def _kind(options: type[Options]) -> str:
    return str(get_args(options.model_fields["kind"].annotation)[0])
