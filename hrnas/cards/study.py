"""The study card: what to search, by which trainer, for which goals, within which limits, for how long."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from hrnas.cards.drivers import Driver, ModelDriver
from hrnas.cards.supernet import SupernetCard
from hrnas.cards.trainer import Data
from hrnas.reading import Number, Options, Size, read_count, read_number, read_yaml, validate
from hrnas.shelf import find_card

COUNTS = ("params", "params_live", "macs", "macs_as_released")  # in single units
SCALES = {"conv_gi": "G (2^30)", "lite_scale": "M (2^20)", "all_ops": "G (10^9)", "all_ops_gi": "G (2^30)"}  # papers'
COSTS = (*COUNTS, *SCALES)
SCORES = ("score", "ap")
ZERO_COST = ("naswot", "synflow", "zico", "snip", "grad_norm", "jacob_cov")  # larger is better
MEASURES = {"cost": ("params", "macs"), "zero_cost": ZERO_COST}  # what a rung may score by, its default first
CLIMB = ("cost", "zero_cost", "inherited", "proxy")  # a ladder's fidelities, from cheap to dear


def _read_amount(name: str, value: object) -> float:
    """Read a measure in its own unit: counts may have a suffix, what has its unit in its name may not."""
    if name in COSTS and name not in SCALES:
        return read_number(value)
    try:
        return read_number(float(value) if isinstance(value, str) else value)
    except ValueError:
        unit = f"{name} is given in {SCALES[name]}" if name in SCALES else f"{name} has no unit"
        raise ValueError(f"expected a plain number such as 0.5, without a suffix: {unit}") from None


def read_limit(name: str, value: object) -> float:
    """Read a cost's upper limit in its own unit, a number or a text such as '<= 3M'.

    Raises:
        ValueError: no such cost, or no such amount.
    """
    if name not in COSTS:
        raise ValueError(f"there is no such cost to limit; there are: {', '.join(COSTS)}")
    if isinstance(value, str):
        match = re.match(r"^\s*<=\s*(.+)$", value)
        if match is None:
            raise ValueError(f"expected an upper limit such as '<= {'3M' if name in COUNTS else '0.5'}'")
        value = match[1]
    limit = read_count(value) if name in COUNTS else _read_amount(name, value)
    if limit <= 0:
        raise ValueError("expected a limit above 0")
    return limit


def _read_each(read: Callable[[str, object], float], values: object) -> object:
    """Read every value of a mapping by its name; all mistakes at once."""
    if not isinstance(values, dict):
        return values
    found, problems = {}, []
    for name, value in values.items():
        try:
            found[name] = read(name, value)
        except ValueError as error:
            problems.append(f"{name}: {error} (got {json.dumps(value, default=str)})")
    if problems:
        raise ValueError("; ".join(problems))
    return found


class Rung(Options):
    """One step of the ladder: measure, then compare; the best go on to the next rung.

    `proxy` trains up to `epochs` in all, and only `proxy` has epochs. The cheaper fidelities come before it: `cost` and
    `zero_cost` score a network that never learnt, by the measure `by` (decades of a cost, of which more is better; a
    zero-cost score), and `inherited` scores it with the weights of the study's supernet.
    """

    fidelity: Literal["cost", "zero_cost", "inherited", "proxy"] = "proxy"
    epochs: int | None = Field(None, ge=1)
    by: str | None = None

    @model_validator(mode="after")
    def _options_belong_to_the_fidelity(self) -> Rung:
        if (self.epochs is None) == (self.fidelity == "proxy"):
            if self.fidelity == "proxy":
                raise ValueError("a rung of fidelity proxy trains: it needs epochs, such as epochs: 3")
            raise ValueError(f"a rung of fidelity {self.fidelity} does not train: leave epochs out")
        known = MEASURES.get(self.fidelity, ())
        if self.by is not None and self.by not in known:
            there = f"there are: {', '.join(known)}" if known else f"a rung of fidelity {self.fidelity} has none"
            raise ValueError(f"by: no measure '{self.by}'; {there}")
        return self

    @model_serializer(mode="wrap")
    def _only_what_belongs_to_the_fidelity(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialise(self).items() if value is not None}

    @property
    def measure(self) -> str:
        """What a rung of fidelity `cost` or `zero_cost` scores by."""
        return self.by or MEASURES[self.fidelity][0]


class StudyCard(Options):
    """A study card.

    `reference` and `limits` are in each measure's own unit: parameters and operations are counts, which may have a
    suffix (`<= 3M`), the papers' scales have their M or G already (`lite_scale: <= 250`, `conv_gi: <= 0.5`). `ledger`
    is a database's address instead of a file in the run folder; it stands in `study.yaml` as it is, so that a password
    belongs into the database's own place for it (for PostgreSQL `~/.pgpass`), not into the address. `published` are the
    points tried before the driver is asked: all that lie in the space (`first`), those named, or `none`. A proposal
    outside the limits is made smaller until it fits (`limits_by: repair`), or recorded and told to the driver in its
    own way (`driver`). `time_limit` is the most seconds that one evaluation may take. `supernet` says how weights are
    learnt that all networks of the space share; `init: supernet` lets proxies start from them.

    Of each rung of the `ladder` the share `keep` climbs: by what it adds to the hypervolume, by crowding or by an
    epsilon net (`promotion`), whose score is at or below `floor` last, and nobody before the share `wait` of the trials
    is measured on the first rung: with 0 a stopped study has the most to show, with 1 the fewest climb in vain.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    about: str = ""
    space: str
    trainer: str
    data: Data | None = None
    input: Size | None = None
    goals: dict[str, Literal["maximize", "minimize"]] = {"score": "maximize", "macs": "minimize"}
    reference: dict[str, float] = {}
    limits: dict[str, int | float] = {}
    limits_by: Literal["repair", "driver"] = "repair"
    driver: Driver = ModelDriver(kind="model")
    ladder: tuple[Rung, ...] = Field(min_length=1)
    keep: Annotated[Number, Field(gt=0, le=1)] = 1 / 3
    promotion: Literal["hypervolume", "crowding", "epsilon_net"] = "hypervolume"
    floor: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    wait: Annotated[Number, Field(ge=0, le=1)] = 0.5
    trials: int = Field(ge=1)
    time_limit: Annotated[Number, Field(gt=0)] | None = None
    published: Literal["first", "none"] | tuple[str, ...] = "first"
    ledger: str | None = None
    supernet: SupernetCard | None = None
    init: Literal["fresh", "supernet"] = "fresh"

    @field_validator("goals", mode="before")
    @classmethod
    def _goals_have_directions(cls, goals: object) -> object:
        bare = [goals] if isinstance(goals, str) else goals
        if isinstance(bare, dict):
            bare = [name for name, way in bare.items() if way is None]
        if isinstance(bare, list) and bare:
            ways = ", ".join(f"{name}: {'minimize' if name in COSTS else 'maximize'}" for name in bare)
            raise ValueError(f"a goal needs its direction: {{{ways}}}")
        return goals

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

    @field_validator("reference", mode="before")
    @classmethod
    def _reference_in_own_units(cls, reference: object) -> object:
        return _read_each(_read_amount, reference)

    @field_validator("limits", mode="before")
    @classmethod
    def _limits_in_own_units(cls, limits: object) -> object:
        return _read_each(read_limit, limits)

    @model_validator(mode="after")
    def _rungs_grow_and_references_fit(self) -> StudyCard:
        epochs = [rung.epochs for rung in self.ladder if rung.epochs is not None]
        if epochs != sorted(set(epochs)):
            raise ValueError(f"ladder: each rung must train longer than the one before, got epochs {epochs}")
        steps = [(CLIMB.index(rung.fidelity), rung.epochs or 0) for rung in self.ladder]
        if steps != sorted(set(steps)):
            got = ", ".join(rung.fidelity for rung in self.ladder)
            raise ValueError(f"ladder: expected {' before '.join(CLIMB)}, and only proxy more than once; got {got}")
        if "ap" in self.goals and any(rung.fidelity in MEASURES for rung in self.ladder):
            raise ValueError("goals: ap is not known on rungs of fidelity cost or zero_cost; use score")
        asked = self.init == "supernet" or any(rung.fidelity == "inherited" for rung in self.ladder)
        if asked and self.supernet is None:
            raise ValueError(
                "supernet: init: supernet and rungs of fidelity inherited need one, with a trainer at least"
            )
        if problem := self.driver.cannot([*self.goals], self.trials):
            raise ValueError(f"driver: {problem}")
        strangers = [name for name in self.reference if name not in self.goals]
        if strangers:
            raise ValueError(f"reference: {', '.join(strangers)} is no goal; the goals are {', '.join(self.goals)}")
        return self

    def epochs_added(self, rung: int) -> int:
        """The epochs that a rung trains beyond the rung below."""
        below = self.ladder[rung - 1].epochs if rung else 0
        return max((self.ladder[rung].epochs or 0) - (below or 0), 0)

    def with_changes(self, **changes: Any) -> StudyCard:
        """The same card with some fields replaced (those given and not None), checked again."""
        tree = self.model_dump(mode="json") | {key: value for key, value in changes.items() if value is not None}
        return validate(StudyCard, tree, self.name)


def load_study(name: str) -> StudyCard:
    """Read a study card by path or name.

    Raises:
        UserError: no such card, or mistakes in it (all at once).
    """
    path = find_card("studies", name)
    return validate(StudyCard, {"name": path.stem, **read_yaml(path)}, str(path))
