"""The study card: what to search, by which trainer, for which goals, within which limits, for how long."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from hrnas.cards.trainer import Data, data_at
from hrnas.reading import Number, Options, Size, read_count, read_yaml, validate
from hrnas.shelf import find_card

COSTS = ("params", "params_live", "macs", "macs_as_released", "conv_gi", "lite_scale", "all_ops", "all_ops_gi")
SCORES = ("score", "ap")


def _read_limit(value: object) -> int:
    if isinstance(value, str):
        match = re.match(r"^\s*<=\s*(.+)$", value)
        if match is None:
            raise ValueError("expected an upper limit such as '<= 3M'")
        value = match[1]
    limit = read_count(value)
    if limit <= 0:
        raise ValueError("expected a limit above 0")
    return limit


Limit = Annotated[int, BeforeValidator(_read_limit)]


class RandomDriver(Options):
    """Uniform sampling without repetition: the baseline that every search must beat."""

    kind: Literal["random"]
    seed: int = Field(0, ge=0)


class OptunaDriver(Options):
    """One of Optuna's samplers: `tpe` (multivariate), `nsga2` or `nsga3` (small populations suit small budgets)."""

    kind: Literal["optuna"]
    sampler: Literal["tpe", "nsga2", "nsga3"] = "tpe"
    seed: int = Field(0, ge=0)
    population: int = Field(20, ge=2)
    startup: int = Field(10, ge=1)


Driver = Annotated[RandomDriver | OptunaDriver, Field(discriminator="kind")]


class Rung(Options):
    """One step of the ladder: train up to `epochs` in all, then compare; the best go on to the next rung."""

    fidelity: Literal["proxy"] = "proxy"
    epochs: int = Field(ge=1)


class StudyCard(Options):
    """A study card."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    about: str = ""
    space: str
    trainer: str
    data: Data | None = None
    input: Size | None = None
    goals: dict[str, Literal["maximize", "minimize"]] = {"score": "maximize", "macs": "minimize"}
    reference: dict[str, Number] = {}
    limits: dict[str, Limit] = {}
    driver: Driver = OptunaDriver(kind="optuna")
    ladder: tuple[Rung, ...] = Field(min_length=1)
    keep: Annotated[Number, Field(gt=0, le=1)] = 1 / 3
    trials: int = Field(ge=1)
    published: Literal["first", "none"] = "first"
    ledger: str | None = None

    @field_validator("goals")
    @classmethod
    def _goals_are_known(cls, goals: dict[str, str]) -> dict[str, str]:
        if not goals:
            raise ValueError("a study needs at least one goal, such as score: maximize")
        for name, direction in goals.items():
            if name not in SCORES + COSTS:
                raise ValueError(f"no measure '{name}'; there are: {', '.join(SCORES + COSTS)}")
            right = "maximize" if name in SCORES else "minimize"
            if direction != right:
                raise ValueError(f"{name} can only be {right}d")
        return goals

    @field_validator("limits")
    @classmethod
    def _limits_are_costs(cls, limits: dict[str, int]) -> dict[str, int]:
        for name in limits:
            if name not in COSTS:
                raise ValueError(f"no cost '{name}' to limit; there are: {', '.join(COSTS)}")
        return limits

    @model_validator(mode="after")
    def _rungs_grow_and_references_fit(self) -> StudyCard:
        epochs = [rung.epochs for rung in self.ladder]
        if epochs != sorted(set(epochs)):
            raise ValueError(f"ladder: each rung must train longer than the one before, got epochs {epochs}")
        strangers = [name for name in self.reference if name not in self.goals]
        if strangers:
            raise ValueError(f"reference: {', '.join(strangers)} is no goal; the goals are {', '.join(self.goals)}")
        return self

    def with_changes(self, **changes: Any) -> StudyCard:
        """The same card with some fields replaced (those given and not None), checked again."""
        tree = self.model_dump(mode="json") | {key: value for key, value in changes.items() if value is not None}
        return validate(StudyCard, tree, self.name)

    def at(self, root: Path | None) -> StudyCard:
        """The same study on the pictures in `root`."""
        data = data_at(self.data, root)
        return self if data is None else self.with_changes(data=data.model_dump(mode="json"))


def load_study(name: str) -> StudyCard:
    """Read a study card by path or name.

    Raises:
        UserError: no such card, or mistakes in it (all at once).
    """
    path = find_card("studies", name)
    return validate(StudyCard, {"name": path.stem, **read_yaml(path)}, str(path))
