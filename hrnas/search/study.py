"""Run a study: ask, decode, known?, count, limits, measure, tell; and do it again after a crash.

    published points, then driver.ask() -> genome -> Architecture -> costs -> limits? else made smaller -> a new trial
    the ladder -> claim -> evaluator -> scores -> ledger -> driver.tell()

Nothing is remembered here: each turn looks at the ledger and does the next thing that is missing there. So a study that
was killed goes on with the same call, and several processes may run the same study.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hrnas.cards.study import StudyCard
from hrnas.cards.trainer import Recipe
from hrnas.ledger import Evaluation, Identity, Ledger, Outcome, Proposal, StudyRecord, Trial
from hrnas.names import CARD_FILE, LEDGER_FILE, supernet_id
from hrnas.pareto import goal_value
from hrnas.reading import UserError, format_size, validate, write_atomically, write_yaml
from hrnas.search.drivers import Told, make_driver, seed_of_ask
from hrnas.search.ladder import next_promotion
from hrnas.search.limits import DRAWS, CountCost, Counted, Limits
from hrnas.search.standing import Standing
from hrnas.search.worker import SILENCE, Evaluator, is_alive, measure, this_owner
from hrnas.space.architecture import Architecture
from hrnas.space.genome import Genome
from hrnas.space.published import load_point, published_names
from hrnas.space.search_space import SearchSpace

PATIENCE = 100  # useless proposals in a row before the search draws unseen architectures itself
WALKABLE = 20_000  # genomes of a space small enough to know that nothing is left
MOST_FAILURES = 3  # evaluations in a row that failed in this process with the same reason
NAMING = {"name", "about"}  # of a trainer card: what it is called, not what it does
MIRROR_EVERY = 30.0  # seconds between two copies for Optuna's tools
WAIT = 1.0  # seconds between two looks while other workers finish


@dataclass(frozen=True)
class Event:
    """Something a person who watches wants to see.

    Attributes:
        trial: its number; -1 for what is no trial.
        done, total: trials finished on the first rung, and how many the card asks for.
        front: how many of them are on the front.
        progress: what the evaluator said last (kind `progress`).
    """

    kind: Literal[
        "start", "duplicate", "infeasible", "measuring", "progress", "finished", "failed", "broken", "waiting", "end"
    ]
    done: int
    total: int
    front: int
    seconds: float  # since this process began
    trial: int = -1
    key: str = ""
    title: str = ""
    rung: int = 0
    score: float | None = None
    ap: float | None = None
    reason: str = ""
    progress: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """How the search ended: `complete`, or the `reason` why not.

    Attributes:
        duplicates: proposals of networks that were known.
        infeasible: networks outside the limits that were asked for or drawn.
    """

    complete: bool
    reason: str
    done: int
    total: int
    duplicates: int
    infeasible: int
    failed: int


@dataclass(frozen=True)
class Conditions:
    """What every evaluation of a study has in common."""

    input: str
    data: str
    recipe: str
    seed: int
    supernet: str = ""  # whose weights networks inherit; it has learnt by a recipe of its own


def conditions_of(card: StudyCard, recipe: Recipe, folder: Path | None = None) -> Conditions:
    """The conditions of the study's own evaluations, as its ledger names them.

    Args:
        folder: the run folder, where the study's supernet lies.

    Raises:
        UserError: the study asks a supernet, and it is not trained yet.
    """
    asks = card.init == "supernet" or any(rung.fidelity == "inherited" for rung in card.ladder)
    supernet = f"supernet {supernet_id(folder)}" if asks and folder is not None else ""
    start = f", from {supernet}" if card.init == "supernet" else ""
    return Conditions(
        input=format_size(recipe.input),
        data=recipe.data.label,
        recipe=f"{recipe.name} {recipe.fingerprint}{start}",
        seed=card.driver.seed,
        supernet=supernet,
    )


def identity_of(card: StudyCard, conditions: Conditions, key: str, rung: int) -> Identity:
    """The identity of an architecture's evaluation on a rung of the study's ladder."""
    fidelity, given = card.ladder[rung].fidelity, vars(conditions).copy()
    supernet = given.pop("supernet")
    if fidelity == "inherited":
        given["recipe"] = supernet
    return Identity(key, fidelity, rung, **given)


def published_points(card: StudyCard, space: SearchSpace) -> list[tuple[str, Architecture]]:
    """The published points that a study begins with, by name: those that lie in its space, or those that it names.

    Raises:
        UserError: a point that the card names does not exist, or does not lie in the space.
    """
    if card.published == "none":
        return []
    if card.published == "first":
        points = [load_point(name) for name in published_names()]
        return [(point.name, point.architecture) for point in points if space.contains(point.architecture)]
    named = [load_point(name if "/" in name else f"published/{name}") for name in card.published]
    for point in named:
        try:
            space.encode(point.architecture)
        except UserError as error:
            raise UserError(f"published: {point.name} does not lie in the space: {error}") from None
    return [(point.name, point.architecture) for point in named]


def open_study(
    card: StudyCard, space: SearchSpace, recipe: Recipe, folder: Path, environment: Mapping[str, Any]
) -> Ledger:
    """Make or find the study's ledger, and write its card and environment beside it.

    Raises:
        UserError: the folder holds a study of this name with another card; nothing was written.
    """
    ledger = Ledger.open(card.ledger or folder / LEDGER_FILE, study=card.name, create=True)
    tree = card.model_dump(mode="json")
    resolved = {
        "recipe": recipe.model_dump(mode="json", exclude=NAMING),
        "base": space.base,
        "choices": {gene.path: list(gene.values) for gene in space.genes},
        "ordered choices": [gene.path for gene in space.genes if gene.ordered],
        "conditions": {
            gene.path: {where: list(only) for where, only in gene.when} for gene in space.genes if gene.when
        },
    }
    record = ledger.create_study(tree, environment, resolved, _renewed)
    write_yaml(folder / CARD_FILE, record.card)
    write_atomically(folder / "environment.json", json.dumps(record.environment, indent=2))
    return ledger


def _renewed(record: StudyRecord) -> StudyRecord:
    """The record as it would be made now: options that are newer than it have their defaults."""
    recipe = {"name": record.name, **record.resolved.get("recipe", {})}
    try:
        return replace(
            record,
            card=validate(StudyCard, record.card, record.name).model_dump(mode="json"),
            resolved=record.resolved
            | {"recipe": validate(Recipe, recipe, record.name).model_dump(mode="json", exclude=NAMING)},
        )
    except UserError:  # it lacks or has what no card of now does: the comparison names it
        return record


def run_study(
    card: StudyCard,
    space: SearchSpace,
    folder: Path,
    evaluators: Mapping[str, Evaluator],
    count_cost: CountCost,
    on_event: Callable[[Event], None] = lambda event: None,
    *,
    recipe: Recipe,
    environment: Mapping[str, Any] | None = None,
    published: Sequence[tuple[str, Architecture]] | None = None,
) -> Result:
    """Search until the card's number of trials is finished; a study that was begun goes on where it stood.

    Args:
        folder: the run folder, `runs/<study>`.
        evaluators: fidelity -> evaluator, one for each fidelity on the ladder.
        count_cost: an architecture's costs by name; among them every cost that is a goal or has a limit.
        recipe: the trainer card with the study's own data and input.
        published: points to try first (default: those that the card says).

    Raises:
        UserError: the folder holds a study of this name with another card.
    """
    if published is None:
        published = published_points(card, space)
    conditions = conditions_of(card, recipe, folder)
    ledger = open_study(card, space, recipe, folder, environment or {})
    try:
        return _Search(card, space, folder, evaluators, count_cost, on_event, ledger, conditions, published).run()
    finally:
        ledger.close()


class _Search:
    """One process's part in a study."""

    def __init__(
        self,
        card: StudyCard,
        space: SearchSpace,
        folder: Path,
        evaluators: Mapping[str, Evaluator],
        count_cost: CountCost,
        on_event: Callable[[Event], None],
        ledger: Ledger,
        conditions: Conditions,
        published: Sequence[tuple[str, Architecture]],
    ) -> None:
        self.card, self.space, self.folder = card, space, folder
        self.evaluators, self.count_cost, self.on_event = evaluators, count_cost, on_event
        self.limits = Limits(space, card.limits, self._known_cost)
        self.ledger, self.conditions, self.published = ledger, conditions, published
        self.driver = make_driver(card, space, lambda genome: self.limits.count(genome).costs)
        self.owner = this_owner()
        self.began = time.monotonic()
        self.standing = Standing(ledger, card.goals, len(card.ladder), self._is_own)
        self.told: dict[int, Told] = {}
        self.mirror_every = MIRROR_EVERY
        self.failures: list[Evaluation] = []  # in a row with the same reason, in this process
        self.awaited: set[str] = set()  # the owners of whom it was said that this process waits for them

    def run(self) -> Result:
        standing = self.standing
        standing.look()
        self._say("start")
        if self.card.limits and not standing.trials:
            smallest, counted = self._smallest
            if smallest.broken:
                return self._end(self._nothing_inside(smallest, counted))
        while True:
            self._recover()
            standing.look()
            if len(self.failures) >= MOST_FAILURES:
                return self._end(_why_they_failed(self.failures))
            job = self._unfinished() or self._promotion()
            if job is not None:
                self._measure(*job)
            elif len(standing.done) + len(standing.under_way) < self.card.trials:
                if reason := self._propose():
                    last = self._promotion(closing=True)  # nobody else comes: those who are there may climb
                    if last is None:
                        return self._end(reason)
                    self._measure(*last)
            elif standing.running:
                self._say_who_is_awaited()
                time.sleep(WAIT)  # others finish; should one of them die, its work is ours
            else:
                return self._end("")

    # -- what the ledger says -----------------------------------------------------------------------------------------

    def _is_own(self, identity: Identity) -> bool:
        """Whether an evaluation is the search's own; a trial may have others: more seeds, other fidelities."""
        on_ladder = identity.rung < len(self.card.ladder)
        return on_ladder and identity == identity_of(self.card, self.conditions, identity.key, identity.rung)

    def _unfinished(self) -> tuple[Trial, int] | None:
        """What a crash or an interruption left: a trial that was never claimed, or broke and is to be handed on."""
        if not self.standing.unfinished:
            return None
        trial = self.standing.trials[min(self.standing.unfinished)]
        rung = self.standing.unfinished_rung(trial)
        assert rung is not None
        return trial, rung

    def _promotion(self, closing: bool = False) -> tuple[Trial, int] | None:
        if len(self.card.ladder) == 1:
            return None
        return next_promotion(self.standing.trials, self.card, self.conditions.seed, closing)

    def _recover(self) -> None:
        for evaluation in self.ledger.recover(is_alive):
            self._say("broken", key=evaluation.identity.key, rung=evaluation.identity.rung, reason=evaluation.owner)

    def _say_who_is_awaited(self) -> None:
        for evaluation in self.ledger.evaluations("running"):
            if evaluation.owner in self.awaited or not self._is_own(evaluation.identity):
                continue
            self.awaited.add(evaluation.owner)
            silent = max(time.time() - evaluation.heartbeat, 0.0)
            identity, who = evaluation.identity, evaluation.owner.rsplit(":", 1)[0]
            reason = f"{who} (machine:process) measures it, its last sign of life came {silent:.0f} s ago; "
            reason += f"the work of one that is gone is done again, on another machine after {SILENCE:.0f} s of silence"
            trial = self.standing.trial(identity.key)
            number = -1 if trial is None else trial.number
            self._say("waiting", trial=number, key=identity.key, rung=identity.rung, reason=reason)

    # -- measuring ----------------------------------------------------------------------------------------------------

    def _measure(self, trial: Trial, rung: int) -> None:
        claim = self.ledger.claim(identity_of(self.card, self.conditions, trial.key, rung), self.owner)
        if claim is None:
            return  # another worker was quicker
        about: dict[str, Any] = {"trial": trial.number, "key": trial.key, "title": trial.title, "rung": rung}
        self._say("measuring", **about)
        step = self.card.ladder[rung]
        architecture = Architecture.from_tree(trial.architecture, source=f"trial {trial.number}")
        end = measure(
            self.ledger,
            claim,
            architecture,
            step,
            self.evaluators[step.fidelity],
            self.folder / "checkpoints" / trial.key,
            lambda progress: self._say("progress", progress=progress, **about),
            self.card.time_limit,
        )
        self.standing.look()
        last = self.standing.last(self.standing.trials[trial.number], rung)
        assert last is not None
        if end == "failed":
            if self.failures and _kind(self.failures[0].reason) != _kind(last.reason):
                self.failures.clear()
            self.failures.append(last)
            self._say("failed", reason=last.reason, **about)
        elif end == "done":
            self.failures.clear()
            self._say("finished", score=last.scores.get("score"), ap=last.scores.get("ap"), **about)
        self._mirror()

    def _mirror(self, end: bool = False) -> None:
        """Write Optuna's copy of the study now and then, and at the end where it lacks something."""
        from hrnas.search.mirror import write_mirror  # Optuna takes a while to import

        path, trials = self.folder / "optuna.journal", self.standing.trials
        written = path.stat().st_mtime if path.exists() else 0.0
        if end:
            needed = written < max((e.finished or 0.0 for trial in trials for e in trial.evaluations), default=0.0)
        else:
            needed = time.time() - written > self.mirror_every
        if needed:
            began = time.monotonic()
            write_mirror(path, self.card.name, self.card.goals, self.space.genes, trials)
            # it is written whole: a long study must not spend its time on it
            self.mirror_every = max(MIRROR_EVERY, 20 * (time.monotonic() - began))

    # -- proposing ----------------------------------------------------------------------------------------------------

    def _propose(self) -> str:
        """Record one more proposal; the reason where there is none to make."""
        standing, card = self.standing, self.card
        number = len(standing.proposals)
        for title, architecture in self.published:
            if architecture.key not in standing.published:
                self._record(number, self.limits.count(self.space.encode(architecture)), "published", title=title)
                return ""
        if self._gave_up():
            return self._too_narrow()
        seed = seed_of_ask(card.driver.seed, number)
        rng = np.random.default_rng((seed, 1))  # not the driver's own dice
        if standing.useless >= PATIENCE:
            return self._draw_unseen(number, rng)
        self._tell()
        ask = self.driver.ask(seed)
        counted, origin, refused = self.limits.count(ask.genome), "driver", None
        if counted.broken:
            refused = {_words(counted.broken): 1}
            if card.limits_by == "repair":
                counted, origin = self.limits.repaired(counted, lambda: self._genome_inside(rng), rng), "repaired"
        self._record(number, counted, origin, refused, ask.state)
        return ""

    def _genome_inside(self, rng: np.random.Generator) -> Genome:
        trials = self.standing.trials
        return trials[int(rng.integers(len(trials)))].genome if trials else self._smallest[0].genome

    @cached_property
    def _smallest(self) -> tuple[Counted, int]:
        return self.limits.first_inside(np.random.default_rng(self.card.driver.seed))

    def _known_cost(self, architecture: Architecture) -> Mapping[str, float]:
        known = self.standing.known.get(architecture.key)
        return known.costs if known else self.count_cost(architecture)

    def _record(
        self,
        number: int,
        counted: Counted,
        origin: str,
        refused: Mapping[str, int] | None = None,
        state: Mapping[str, Any] | None = None,
        title: str = "",
    ) -> None:
        key = counted.architecture.key
        known = key in self.standing.known
        outcome: Outcome = "duplicate" if known else "infeasible" if counted.broken else "new"
        if outcome == "infeasible" and refused is None:
            refused = {_words(counted.broken): 1}
        recorded = self.ledger.propose(
            number,
            counted.genome,
            key,
            outcome=outcome,
            origin=origin,
            costs=counted.costs,
            state=state,
            refused=refused,
            architecture=counted.architecture.tree() if outcome == "new" else None,
            title=title,
        )
        if recorded and outcome != "new":
            self._say("duplicate" if known else "infeasible", key=key, title=title)

    def _tell(self) -> None:
        """Tell the driver what is new or has changed since it was last told; a trial's highest rung counts."""
        for number in sorted(self.standing.changed):
            told = self._what_became(self.standing.proposals[number])
            if self.told.get(number) != told:
                self.driver.tell(told)
                self.told[number] = told
        self.standing.changed.clear()

    def _what_became(self, proposal: Proposal) -> Told:
        trial = self.standing.trial(proposal.key)
        excess = self.limits.excess(proposal.costs)
        told = Told(proposal.number, proposal.genome, "pending", excess=excess, state=proposal.state)
        if trial is None:
            return replace(told, outcome="infeasible")
        own = [last for rung in range(len(self.card.ladder)) if (last := self.standing.last(trial, rung))]
        fidelity = self.card.ladder[-1].fidelity  # drivers compare values, and those of others are of another kind
        done = [last for last in own if last.state == "done" and last.identity.fidelity == fidelity]
        if done:
            values = {goal: goal_value(goal, trial, done[-1]) for goal in self.card.goals}
            return replace(told, outcome="measured", values=values)
        return replace(told, outcome="failed") if any(last.state == "failed" for last in own) else told

    def _draw_unseen(self, number: int, rng: np.random.Generator) -> str:
        """Record a network that nobody proposed: drawn, or mutated from what is inside the limits."""
        refused: Counter[str] = Counter()
        nearest: Counted | None = None
        for genome in self._candidates(rng):
            if genome in self.standing.genomes:
                continue
            counted = self.limits.count(genome)
            if counted.architecture.key in self.standing.known:
                continue
            if counted.broken:
                refused[_words(counted.broken)] += 1
                nearest = counted if nearest is None or counted.worst < nearest.worst else nearest
            if not counted.broken or (refused.total() >= DRAWS and nearest is not None):
                self._record(number, nearest if counted.broken and nearest else counted, "random", refused)
                return ""
        return self._exhausted(refused.total())

    def _gave_up(self) -> bool:
        """Whether the last networks drawn were all outside the limits."""
        last = self.standing.proposals[-1:]
        return any(p.outcome == "infeasible" and sum(p.refused.values()) >= DRAWS for p in last)

    def _candidates(self, rng: np.random.Generator) -> Iterator[Genome]:
        if prod(gene.size for gene in self.space.genes) <= WALKABLE:
            genomes = self._all_genomes
            yield from (genomes[index] for index in rng.permutation(len(genomes)))
            return
        if self.card.limits and not self.standing.trials:
            yield self._smallest[0].genome
        for _ in range(1000):
            yield self.space.sample(rng)
            yield self.space.mutate(self._genome_inside(rng), rng)

    @cached_property
    def _all_genomes(self) -> list[Genome]:
        return list(self.space.enumerate())

    # -- words --------------------------------------------------------------------------------------------------------

    def _nothing_inside(self, nearest: Counted, counted: int) -> str:
        return (
            f"the limits let nothing of the space {self.space.name} through: {counted} networks were counted, made "
            f"smaller choice by choice and drawn at random, and 0 (0.0%) are inside; the nearest is "
            f"{nearest.architecture.key} with {self._misses(nearest.costs)}: raise the limits or search another space"
        )

    def _too_narrow(self) -> str:
        """What to say when networks drawn were all outside: how many are inside, and which are nearest."""
        standing = self.standing
        tried = standing.inside + standing.refused
        last = standing.proposals[-1]
        near = sorted(standing.trials, key=lambda trial: -max(self.limits.excess(trial.costs).values()))[:3]
        misses = self._misses(last.costs)
        inside = "; inside, and nearest to the limits, are " + ", ".join(trial.key for trial in near) if near else ""
        return (
            f"the limits let almost nothing of the space {self.space.name} through: {standing.inside} of {tried} "
            f"networks that were asked for or drawn ({standing.inside / tried:.1%}) are inside, and of the last "
            f"{DRAWS} drawn none; the nearest of those outside is {last.key} with {misses}"
            f"{inside}: raise the limits or search another space"
        )

    def _misses(self, costs: Mapping[str, float]) -> str:
        over = [name for name, value in self.limits.excess(costs).items() if value > 0]
        return ", ".join(f"{name} {_amount(costs[name])} > {_amount(self.card.limits[name])}" for name in over)

    def _exhausted(self, refused: int) -> str:
        """`refused`: how many of the networks that are left are outside the limits."""
        inside, known = len(self.standing.trials), len(self.standing.known)
        return (
            f"the space {self.space.name} is exhausted: of its {known + refused} architectures {inside} are "
            f"inside the limits, and all of these were tried; the card asks for {self.card.trials} trials"
        )

    def _end(self, reason: str) -> Result:
        outcomes = [proposal.outcome for proposal in self.standing.proposals]
        self._mirror(end=True)
        self._say("end", reason=reason)
        return Result(
            complete=not reason,
            reason=reason,
            done=len(self.standing.done),
            total=self.card.trials,
            duplicates=outcomes.count("duplicate"),
            infeasible=self.standing.refused,
            failed=len(self.standing.failed),
        )

    def _say(self, kind: Any, **more: Any) -> None:
        seconds = time.monotonic() - self.began
        self.on_event(Event(kind, len(self.standing.done), self.card.trials, self.standing.front, seconds, **more))


_ADVICE = {
    "out of memory": "lower the trainer's batch_size or the study's limits",
    r"longer than its time limit": "raise the card's time_limit, or lower its limits, its input or its epochs",
    r"\bnan\b|\binf\b|finite": "lower the trainer's learning rate, or train in full precision",
}


def _why_they_failed(failures: Sequence[Evaluation]) -> str:
    reasons = "".join(f"\n  {evaluation.identity.key}: {evaluation.reason}" for evaluation in failures)
    last = failures[-1]
    found = [advice for words, advice in _ADVICE.items() if re.search(words, last.reason, re.IGNORECASE)]
    advice = found[0] if found else "mend what they say"
    return (
        f"{len(failures)} evaluations in a row failed with the same reason:{reasons}\n{advice} (the whole message: "
        f"checkpoints/{last.identity.key}/failure.txt), then go on with the same command, or with another name if the "
        "card has changed"
    )


def _kind(reason: str) -> str:
    """A reason without its numbers: the step at which a loss was no number does not make it another failure."""
    return re.sub(r"\d+", "", reason)


def _amount(value: float) -> str:
    """A count in full, `1,130,769`; a figure on a paper's scale in short, `205.2`."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def _words(names: Sequence[str]) -> str:
    return ", ".join(names)
