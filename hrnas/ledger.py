"""Remember every proposal and every evaluation of a study, whatever happens to the processes that make them.

A small relational database behind SQLAlchemy: a SQLite file in the study's folder by default, any other address when
the card says so. It is the only memory of a search: drivers, fronts and reports are rebuilt from what is written here.

    studies ── one row: the resolved card and the environment it first ran in
      ├─ proposals ────── every ask, in order: new, duplicate or infeasible
      ├─ architectures ── every distinct feasible network, in order of its first proposal: a Trial's number
      ├─ evaluations ──── running -> done | failed | broken; a broken one is handed on exactly once
      └─ rank_checks ──── how far the study's cheap rankings foretell a dear one, whenever that was measured
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sql
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError

from hrnas.reading import UserError

__all__ = ["FIDELITIES", "Evaluation", "Identity", "Ledger", "News", "Proposal", "StudyRecord", "Trial"]

State = Literal["running", "done", "failed", "broken"]
Outcome = Literal["new", "duplicate", "infeasible"]

FIDELITIES = ("cost", "zero_cost", "inherited", "proxy", "full")  # from cheap to dear

MOST_ATTEMPTS = 2  # an evaluation whose owner died is tried once more; whoever kills two owners is not worth a third


# ---------------------------------------------------------------------------------------------------------------------
# values


@dataclass(frozen=True)
class Identity:
    """What makes an evaluation the same evaluation: two workers never do one identity twice."""

    key: str
    fidelity: str
    rung: int
    input: str
    data: str
    recipe: str
    seed: int


@dataclass(frozen=True)
class Evaluation:
    """One architecture measured once (or being measured, or lost); times are seconds since 1970, UTC."""

    id: int
    identity: Identity
    attempt: int
    state: State
    owner: str
    heartbeat: float
    scores: dict[str, Any]
    seconds: float | None
    reason: str
    started: float
    finished: float | None
    cpu_seconds: float | None = None  # of all threads of the owner; `None` in ledgers from before it was recorded


@dataclass(frozen=True)
class Trial:
    """All evaluations of one architecture in a study, seen together."""

    number: int
    key: str
    architecture: dict[str, Any]
    genome: tuple[int, ...]
    costs: dict[str, float]
    origin: str  # "driver", "repaired" (a driver's, made to fit the limits), "random" or "published"
    title: str  # the published point's name, else ""
    evaluations: tuple[Evaluation, ...]

    def best(self, fidelity: str) -> Evaluation | None:
        """The finished evaluation on the highest rung of one fidelity; of several seeds the one asked for first."""
        done = [e for e in self.evaluations if e.state == "done" and e.identity.fidelity == fidelity]
        return max(done, key=lambda e: (e.identity.rung, -e.id), default=None)

    @property
    def final(self) -> Evaluation | None:
        """The finished evaluation of the highest fidelity and rung that this architecture reached in the search.

        A full training is none of it: it is only done with what the search has found.
        """
        for fidelity in reversed(FIDELITIES[: FIDELITIES.index("full")]):
            if best := self.best(fidelity):
                return best
        return None


@dataclass(frozen=True)
class Proposal:
    """One ask and what became of it.

    Attributes:
        state: the driver's own note, given back to it when it is rebuilt.
        refused: how many networks outside the limits were asked for or drawn for it, itself among them where it is
            infeasible, by the limits that they broke: `{"macs": 3, "macs, params": 1}`.
    """

    number: int
    genome: tuple[int, ...]
    key: str
    origin: str
    outcome: Outcome
    costs: dict[str, float]
    state: dict[str, Any]
    refused: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class News:
    """What a process that follows a study has not seen yet; the trials come without their evaluations."""

    version: int
    proposals: list[Proposal]
    trials: list[Trial]
    evaluations: list[Evaluation]


@dataclass(frozen=True)
class StudyRecord:
    """The study as it was created.

    Attributes:
        resolved: what the card's names stood for (the recipe; the space's base, choices and their conditions); a study
            cannot go on with others.
        environment: the machine and the versions that it was created with.
        created: seconds since 1970, UTC.
    """

    name: str
    card: dict[str, Any]
    resolved: dict[str, Any]
    environment: dict[str, Any]
    created: float


# ---------------------------------------------------------------------------------------------------------------------
# tables

_metadata = sql.MetaData()


def _study_column() -> sql.Column[int]:
    return sql.Column("study", sql.ForeignKey("studies.id"), nullable=False)


_studies = sql.Table(
    "studies",
    _metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("name", sql.String(200), nullable=False, unique=True),
    sql.Column("card", sql.JSON, nullable=False),
    sql.Column("resolved", sql.JSON, nullable=False),
    sql.Column("environment", sql.JSON, nullable=False),
    sql.Column("created", sql.Double, nullable=False),
    sql.Column("version", sql.Integer, nullable=False),  # counts changes; its row lock orders the writers of a study
)

_proposals = sql.Table(
    "proposals",
    _metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    _study_column(),
    sql.Column("number", sql.Integer, nullable=False),
    sql.Column("genome", sql.JSON, nullable=False),
    sql.Column("key", sql.String(64), nullable=False),
    sql.Column("origin", sql.String(40), nullable=False),
    sql.Column("outcome", sql.String(20), nullable=False),
    sql.Column("costs", sql.JSON, nullable=False),
    sql.Column("driver_state", sql.JSON, nullable=False),
    sql.Column("refused", sql.JSON, nullable=False),
    sql.UniqueConstraint("study", "number"),
)

_architectures = sql.Table(
    "architectures",
    _metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    _study_column(),
    sql.Column("number", sql.Integer, nullable=False),
    sql.Column("key", sql.String(64), nullable=False),
    sql.Column("tree", sql.JSON, nullable=False),
    sql.Column("genome", sql.JSON, nullable=False),
    sql.Column("costs", sql.JSON, nullable=False),
    sql.Column("origin", sql.String(40), nullable=False),
    sql.Column("title", sql.String(200), nullable=False),
    sql.UniqueConstraint("study", "number"),
    sql.UniqueConstraint("study", "key"),
)

_IDENTITY = ("key", "fidelity", "rung", "input", "data", "recipe", "seed")

_evaluations = sql.Table(
    "evaluations",
    _metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    _study_column(),
    sql.Column("key", sql.String(64), nullable=False),
    sql.Column("fidelity", sql.String(20), nullable=False),
    sql.Column("rung", sql.Integer, nullable=False),
    sql.Column("input", sql.String(20), nullable=False),
    sql.Column("data", sql.String(200), nullable=False),
    sql.Column("recipe", sql.String(200), nullable=False),
    sql.Column("seed", sql.BigInteger, nullable=False),
    sql.Column("attempt", sql.Integer, nullable=False),
    sql.Column("state", sql.String(20), nullable=False),
    sql.Column("owner", sql.String(200), nullable=False),
    sql.Column("heartbeat", sql.Double, nullable=False),
    sql.Column("scores", sql.JSON, nullable=False),
    sql.Column("seconds", sql.Double),
    sql.Column("reason", sql.Text, nullable=False),
    sql.Column("started", sql.Double, nullable=False),
    sql.Column("finished", sql.Double),
    sql.Column("cpu_seconds", sql.Double),
    sql.UniqueConstraint("study", *_IDENTITY, "attempt", name="one_claim"),
    sql.Index("evaluations_in_order", "study", "id"),
    sql.Index("evaluations_by_state", "study", "state"),
)

_rank_checks = sql.Table(
    "rank_checks",
    _metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    _study_column(),
    sql.Column("document", sql.JSON, nullable=False),
)


# ---------------------------------------------------------------------------------------------------------------------
# the ledger


class Ledger:
    """The memory of one study. Open it with `Ledger.open`; every method is one transaction."""

    def __init__(self, engine: sql.Engine, address: str, study: str | None) -> None:
        self._engine = engine
        self._address = address
        self._name = study
        self._id: int | None = None
        weakref.finalize(self, engine.dispose)

    @classmethod
    def open(cls, address: Path | str, study: str | None = None, create: bool = False) -> Ledger:
        """Open a ledger.

        Args:
            address: a SQLite file, or a database address such as `postgresql+psycopg://user@host/database`.
            study: the study's name; not needed where the database holds one study (a SQLite file always does).
            create: make the file and the tables where they are missing.

        Raises:
            UserError: there is no ledger at the address, or the address cannot be used.
        """
        text, shown = str(address), _without_password(str(address))
        if "://" not in text:
            path = Path(address)
            if not create and not path.is_file():
                raise UserError(f"{path}: there is no ledger here; name a study's folder or run `hrnas search` first")
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
            text = f"sqlite:///{path.resolve()}"
        try:
            engine = _connectable(text)
            if create:
                with engine.connect() as connection, _write(connection):
                    _metadata.create_all(connection)
            elif not sql.inspect(engine).has_table("studies"):
                raise UserError(f"{shown}: this database holds no studies of hrnas")
            _add_missing_columns(engine)
        except (ArgumentError, DBAPIError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise UserError(f"{shown}: cannot be opened as a ledger: {str(error).splitlines()[0]}") from None
        return cls(engine, shown, study)

    def close(self) -> None:
        """Let go of the database's files and connections."""
        self._engine.dispose()

    # studies

    def create_study(
        self,
        card: Mapping[str, Any],
        environment: Mapping[str, Any],
        resolved: Mapping[str, Any] | None = None,
        renewed: Callable[[StudyRecord], StudyRecord] = lambda record: record,
    ) -> StudyRecord:
        """Record the study, or find it again: the same card under the same name is the same study.

        Args:
            renewed: a record with the defaults of the options that came after it.

        Raises:
            UserError: another study of this name exists; the text names the keys that differ.
        """
        name = str(card["name"])
        self._name = name
        plain = json.loads(json.dumps([card, resolved or {}]))  # tuples become lists, as the database has them
        new = {"card": plain[0], "resolved": plain[1]}
        row = {"name": name, "environment": dict(environment), "created": time.time(), "version": 0, **new}
        try:
            with self._engine.connect() as connection, _write(connection):
                others = connection.scalars(sql.select(_studies.c.name).where(_studies.c.name != name)).all()
                if others and self._engine.dialect.name == "sqlite":
                    raise UserError(f"{self._address}: this ledger holds the study '{others[0]}', not '{name}'")
                if connection.scalar(sql.select(_studies.c.id).where(_studies.c.name == name)) is None:
                    connection.execute(_studies.insert().values(**row))
        except IntegrityError:  # another worker was quicker
            pass
        record = self.study()
        old = renewed(record)
        different = _differences({**old.card, **old.resolved}, {**new["card"], **new["resolved"]})
        if different:
            raise UserError(
                f"{self._address}: the study '{name}' exists with another card; it differs in\n"
                + "\n".join(f"  {line}" for line in different)
                + "\ngive the new card another name, or put these keys back to go on with the old study"
            )
        return record

    def study(self) -> StudyRecord:
        """The study's card and environment, as they were when it was created."""
        with self._reading() as (connection, study):
            row = connection.execute(sql.select(_studies).where(_studies.c.id == study)).one()
        return StudyRecord(row.name, row.card, row.resolved, row.environment, row.created)

    def version(self) -> int:
        """A counter that grows with every proposal and every change of an evaluation (heartbeats apart)."""
        with self._reading() as (connection, study):
            return int(connection.scalar(sql.select(_studies.c.version).where(_studies.c.id == study)) or 0)

    # proposals

    def propose(
        self,
        number: int,
        genome: Sequence[int],
        key: str,
        *,
        outcome: Outcome,
        origin: str,
        costs: Mapping[str, float],
        state: Mapping[str, Any] | None = None,
        refused: Mapping[str, int] | None = None,
        architecture: Mapping[str, Any] | None = None,
        title: str = "",
    ) -> bool:
        """Record the ask of this number; a new one also becomes a trial (and then needs its architecture's tree).

        Returns:
            False when the number or the key was taken meanwhile: another worker was quicker; look again and ask again.
        """
        if (outcome == "new") != (architecture is not None):
            raise ValueError("a proposal has an architecture exactly when it is new")
        own = {"genome": list(genome), "key": key, "origin": origin, "costs": dict(costs)}
        try:
            with self._writing() as (connection, study):
                connection.execute(
                    _proposals.insert().values(
                        study=study,
                        number=number,
                        outcome=outcome,
                        driver_state=dict(state or {}),
                        refused=dict(refused or {}),
                        **own,
                    )
                )
                if architecture is not None:
                    last = connection.scalar(
                        sql.select(sql.func.max(_architectures.c.number)).where(_architectures.c.study == study)
                    )
                    connection.execute(
                        _architectures.insert().values(
                            study=study,
                            number=0 if last is None else last + 1,
                            tree=dict(architecture),
                            title=title,
                            **own,
                        )
                    )
        except IntegrityError:
            return False
        return True

    def proposals(self, start: int = 0) -> list[Proposal]:
        """Every ask since number `start`, in order."""
        with self._reading() as (connection, study):
            return _read_proposals(connection, study, start)

    # evaluations

    def claim(self, identity: Identity, owner: str) -> Evaluation | None:
        """Become the one owner of an evaluation; `None` when it is somebody's, or finished, or broken too often."""
        now = time.time()
        values = {name: getattr(identity, name) for name in _IDENTITY}
        try:
            with self._writing() as (connection, study):
                table = _evaluations
                same = [table.c.study == study, *(table.c[name] == value for name, value in values.items())]
                attempts = connection.execute(sql.select(table.c.state).where(*same).order_by(table.c.attempt)).all()
                if attempts and (attempts[-1].state != "broken" or len(attempts) >= MOST_ATTEMPTS):
                    return None
                row = {
                    "attempt": len(attempts) + 1,
                    "state": "running",
                    "owner": owner,
                    "heartbeat": now,
                    "started": now,
                }
                row |= {"scores": {}, "reason": "", "study": study}
                added = connection.execute(table.insert().values(**row, **values))
                assert added.inserted_primary_key is not None
                number = int(added.inserted_primary_key[0])
                return _evaluation(connection.execute(sql.select(table).where(table.c.id == number)).one())
        except IntegrityError:
            return None

    def heartbeat(self, evaluation: int) -> bool:
        """Say that the owner lives; False when the evaluation is not running any more (it was handed on)."""
        return self._change(evaluation, {"heartbeat": time.time()}, count=False)

    def finish(
        self, evaluation: int, scores: Mapping[str, Any], seconds: float, cpu_seconds: float | None = None
    ) -> bool:
        """Write the scores down; False, and nothing written, when the evaluation was handed on meanwhile.

        Raises:
            ValueError: a score is not a finite number.
        """
        json.dumps(scores, allow_nan=False)  # before the database sees it: no NaN, nothing but plain values
        now = time.time()
        spent = {"seconds": seconds, "cpu_seconds": cpu_seconds}
        values = {"state": "done", "scores": dict(scores), "finished": now, "heartbeat": now, **spent}
        return self._change(evaluation, values)

    def fail(
        self, evaluation: int, reason: str, seconds: float | None = None, cpu_seconds: float | None = None
    ) -> bool:
        """The evaluation came to a bad end by itself (a NaN, an impossible batch): it is not tried again."""
        return self._end(evaluation, "failed", reason, seconds, cpu_seconds)

    def release(self, evaluation: int) -> bool:
        """The owner gives up in good order (Ctrl-C): as if it had never claimed, so that this costs no attempt."""
        with self._writing() as (connection, study):
            table = _evaluations
            gone = connection.execute(
                table.delete().where(table.c.study == study, table.c.id == evaluation, table.c.state == "running")
            )
            return gone.rowcount == 1

    def recover(self, is_alive: Callable[[Evaluation], bool]) -> list[Evaluation]:
        """Break the running evaluations whose owner is dead: the first time to be handed on, the second time for good.

        Returns:
            what was changed, as it was before.
        """
        changed = []
        for evaluation in self.evaluations(state="running"):
            if is_alive(evaluation):
                continue
            reason = f"its owner {evaluation.owner} is gone"
            if evaluation.attempt < MOST_ATTEMPTS:
                done = self._end(evaluation.id, "broken", reason)
            else:
                done = self._end(evaluation.id, "failed", f"broke {evaluation.attempt} times; {reason}")
            if done:
                changed.append(evaluation)
        return changed

    def evaluations(self, state: State | None = None) -> list[Evaluation]:
        """Every evaluation, in the order in which they were claimed."""
        table = _evaluations
        with self._reading() as (connection, study):
            query = sql.select(table).where(table.c.study == study).order_by(table.c.id)
            if state is not None:
                query = query.where(table.c.state == state)
            return [_evaluation(row) for row in connection.execute(query)]

    def trials(self) -> list[Trial]:
        """Every distinct feasible architecture with its evaluations, in the order of the first proposals."""
        with self._reading() as (connection, study):
            trials = _read_trials(connection, study, 0)
            query = sql.select(_evaluations).where(_evaluations.c.study == study).order_by(_evaluations.c.id)
            by_key: dict[str, list[Evaluation]] = {}
            for row in connection.execute(query):
                by_key.setdefault(row.key, []).append(_evaluation(row))
        return [replace(trial, evaluations=tuple(by_key.get(trial.key, ()))) for trial in trials]

    def news(self, version: int, proposals: int, trials: int, evaluation: int, running: Collection[int]) -> News | None:
        """What was written since a process looked last; `None` when nothing was.

        Args:
            version: the study's version at that time, below 0 for the first look.
            proposals, trials: how many of them it knows.
            evaluation: the greatest id among the evaluations that it knows.
            running: the ids of those that were running; each comes again, as it is now, unless it was released.
        """
        table = _evaluations
        with self._reading() as (connection, study):
            now = int(connection.scalar(sql.select(_studies.c.version).where(_studies.c.id == study)) or 0)
            if now == version:
                return None
            # what is read last was written first: where reads are no snapshot, each evaluation still finds its trial
            found = [
                _evaluation(row)
                for news in (table.c.id.in_(running), table.c.id > evaluation)
                for row in connection.execute(sql.select(table).where(table.c.study == study, news))
            ]
            new = _read_trials(connection, study, trials)
            return News(now, _read_proposals(connection, study, proposals), new, found)

    # rank checks

    def put_rank_check(self, document: Mapping[str, Any]) -> None:
        """Remember how far the study's cheap rankings foretell a dear one; the last document counts.

        Raises:
            ValueError: a number in it is not finite.
        """
        plain = json.loads(json.dumps(document, allow_nan=False))
        with self._writing() as (connection, study):
            _rank_checks.create(connection, checkfirst=True)  # a ledger of before has no such table
            connection.execute(_rank_checks.insert().values(study=study, document=plain))

    def rank_check(self) -> dict[str, Any] | None:
        """The last document that `put_rank_check` was given; `None` if there never was one."""
        table = _rank_checks
        with self._reading() as (connection, study):
            if not sql.inspect(connection).has_table(table.name):
                return None
            query = sql.select(table.c.document).where(table.c.study == study).order_by(table.c.id.desc()).limit(1)
            return connection.scalar(query)

    # one transaction each

    def _end(
        self,
        evaluation: int,
        state: State,
        reason: str,
        seconds: float | None = None,
        cpu_seconds: float | None = None,
    ) -> bool:
        spent = {"seconds": seconds, "cpu_seconds": cpu_seconds}
        values = {"state": state, "reason": reason, "finished": time.time(), **spent}
        return self._change(evaluation, values)

    def _change(self, evaluation: int, values: dict[str, Any], count: bool = True) -> bool:
        """Change a running evaluation; what is not running any more stays as it is."""
        table = _evaluations
        with self._writing(count) as (connection, study):
            where = (table.c.study == study, table.c.id == evaluation, table.c.state == "running")
            return connection.execute(table.update().where(*where).values(**values)).rowcount == 1

    @contextmanager
    def _reading(self) -> Iterator[tuple[sql.Connection, int]]:
        with self._engine.connect() as connection, connection.begin():
            yield connection, self._study_id(connection)

    @contextmanager
    def _writing(self, count: bool = True) -> Iterator[tuple[sql.Connection, int]]:
        with self._engine.connect() as connection, _write(connection):
            study = self._study_id(connection)
            if count:
                grown = _studies.update().where(_studies.c.id == study).values(version=_studies.c.version + 1)
                connection.execute(grown)
            yield connection, study

    def _study_id(self, connection: sql.Connection) -> int:
        if self._id is None:
            rows = connection.execute(sql.select(_studies.c.id, _studies.c.name).order_by(_studies.c.id)).all()
            found = [row for row in rows if self._name in (None, row.name)]
            if len(found) != 1:
                there = ", ".join(row.name for row in rows) or "none"
                wanted = f"no study '{self._name}'" if self._name else "name one study"
                raise UserError(f"{self._address}: {wanted}; there are: {there}")
            self._id, self._name = int(found[0].id), str(found[0].name)
        return self._id


# ---------------------------------------------------------------------------------------------------------------------
# helpers


def _without_password(address: str) -> str:
    """An address to show: `postgresql://me:***@host/database`."""
    return re.sub(r"(://[^/@:]*:)[^/]*@", r"\1***@", address)


def _connectable(address: str) -> sql.Engine:
    engine = sql.create_engine(address)
    if engine.dialect.name != "sqlite":
        return engine

    @sql.event.listens_for(engine, "connect")
    def _settle(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions begin where `_begin` says, not where the driver guesses
        connection.execute("PRAGMA busy_timeout = 60000")  # milliseconds
        _use_wal(connection)
        # a dead process loses nothing; a power cut may lose the last moments, and what was measured then is done again
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")

    @sql.event.listens_for(engine, "begin")
    def _begin(connection: sql.Connection) -> None:
        # a writer takes the lock before it looks, so that what it saw is still true when it writes
        writes = connection.get_execution_options().get("hrnas_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


_NEWER_COLUMNS = (  # table, column, and what the rows of before get
    ("evaluations", "cpu_seconds", "DOUBLE PRECISION"),
    ("proposals", "refused", "JSON DEFAULT '{}' NOT NULL"),
)


def _add_missing_columns(engine: sql.Engine) -> None:
    """Let a ledger from before these columns be read and gone on with."""

    def missing(bind: sql.Engine | sql.Connection) -> list[str]:
        look = sql.inspect(bind)
        return [
            f"ALTER TABLE {table} ADD COLUMN {column} {kind}"
            for table, column, kind in _NEWER_COLUMNS
            if column not in {there["name"] for there in look.get_columns(table)}
        ]

    if missing(engine):
        with engine.connect() as connection, _write(connection):
            for change in missing(connection):  # another process may have been quicker
                connection.exec_driver_sql(change)


def _use_wal(connection: Any) -> None:
    """Let readers read while somebody writes; a file keeps this setting.

    The change needs the file for itself, and SQLite does not wait for that: several workers may open a new file.
    """
    until = time.monotonic() + 60
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def _write(connection: sql.Connection) -> sql.RootTransaction:
    return connection.execution_options(hrnas_writes=True).begin()


def _read_proposals(connection: sql.Connection, study: int, start: int) -> list[Proposal]:
    table = _proposals
    query = sql.select(table).where(table.c.study == study, table.c.number >= start).order_by(table.c.number)
    return [
        Proposal(
            number=row.number,
            genome=tuple(row.genome),
            key=row.key,
            origin=row.origin,
            outcome=row.outcome,
            costs=row.costs,
            state=row.driver_state,
            refused=row.refused,
        )
        for row in connection.execute(query)
    ]


def _read_trials(connection: sql.Connection, study: int, start: int) -> list[Trial]:
    """The trials since number `start`, without their evaluations."""
    table = _architectures
    query = sql.select(table).where(table.c.study == study, table.c.number >= start).order_by(table.c.number)
    return [
        Trial(row.number, row.key, row.tree, tuple(row.genome), row.costs, row.origin, row.title, ())
        for row in connection.execute(query)
    ]


def _evaluation(row: Any) -> Evaluation:
    return Evaluation(
        id=row.id,
        identity=Identity(**{name: getattr(row, name) for name in _IDENTITY}),
        attempt=row.attempt,
        state=row.state,
        owner=row.owner,
        heartbeat=row.heartbeat,
        scores=row.scores,
        seconds=row.seconds,
        cpu_seconds=row.cpu_seconds,
        reason=row.reason,
        started=row.started,
        finished=row.finished,
    )


def _differences(old: object, new: object, path: str = "") -> list[str]:
    """The keys in which two cards differ, one line each: `driver.seed: was 1, now 2`."""
    if (
        isinstance(old, list)
        and isinstance(new, list)
        and len(old) == len(new)
        and any(isinstance(o, dict) for o in old)
    ):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for index, pair in pairs for line in _differences(*pair, f"{path}[{index}]")]
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [f"{path}: was {old}, now {new}"]
    if (
        path in ("goals", "choices") and set(old) == set(new) and [*old] != [*new]
    ):  # the first goal is special, a genome goes by order
        return [f"{path}: the order was {', '.join(old)}, now {', '.join(new)}"]
    return [
        line
        for key in [*old, *(key for key in new if key not in old)]
        for line in _differences(old.get(key, "absent"), new.get(key, "absent"), f"{path}.{key}" if path else key)
    ]
