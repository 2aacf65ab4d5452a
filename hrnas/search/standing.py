"""Where a study stands: everything that its ledger says, kept up to date by reading only what is new there.

A turn of the search costs the same at the first trial and at the ten-thousandth: nothing here walks over all trials but
the first look of a process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from hrnas.ledger import Evaluation, Identity, Ledger, Proposal, Trial
from hrnas.pareto import goal_value, non_dominated


class Standing:
    """A study's proposals and trials, and what is done, under way and left to do on its own ladder.

    Attributes:
        known: the first proposal of each key.
        genomes: of all proposals.
        inside, refused: how many networks that were asked for or drawn were inside the limits as they came, and how
            many were not.
        published: the keys that were proposed as published points.
        numbers: the numbers of all proposals of each key.
        useless: how many proposals came after the last one that became a trial.
        done, under_way, unfinished: numbers of trials: finished on the first rung; not finished there, but not failed
            either; waiting to be claimed, or broken and waiting to be handed on.
        running: numbers of trials that somebody measures now.
        failed: numbers of trials that failed on the first rung.
        changed: the proposals that are new or of which something was heard since `changed` was last cleared.
    """

    def __init__(
        self, ledger: Ledger, goals: Mapping[str, str], rungs: int, is_own: Callable[[Identity], bool]
    ) -> None:
        """`is_own` tells the search's own evaluations from others of its trials (more seeds, other fidelities)."""
        self._ledger, self._goals, self._rungs, self._is_own = ledger, goals, rungs, is_own
        self.proposals: list[Proposal] = []
        self.trials: list[Trial] = []
        self.known: dict[str, Proposal] = {}
        self.numbers: dict[str, list[int]] = {}
        self.genomes: set[tuple[int, ...]] = set()
        self.inside = self.refused = 0
        self.published: set[str] = set()
        self.useless = 0
        self.done: set[int] = set()
        self.under_way: set[int] = set()
        self.unfinished: set[int] = set()
        self.running: set[int] = set()
        self.failed: set[int] = set()
        self.changed: set[int] = set()
        self._version = -1
        self._evaluations: dict[int, Evaluation] = {}  # by id
        self._of_key: dict[str, set[int]] = {}  # ids of a trial's evaluations
        self._live: set[int] = set()  # ids of those that may still change
        self._newest = 0
        self._trial_of: dict[str, int] = {}
        self._best: list[list[float]] = []  # the front's values, minimised, and those not yet compared with it

    def look(self) -> bool:
        """Read what is new; False when nothing is."""
        news = self._ledger.news(self._version, len(self.proposals), len(self.trials), self._newest, self._live)
        if news is None:
            return False
        self._version = news.version
        for proposal in news.proposals:
            self._add(proposal)
        touched = {trial.key for trial in news.trials}
        for trial in news.trials:
            self._trial_of[trial.key] = trial.number
            self.trials.append(trial)
        released = self._live - {evaluation.id for evaluation in news.evaluations}
        for id in [*released, *(evaluation.id for evaluation in news.evaluations)]:
            if id in self._evaluations:  # a released number may be another's claim by now
                key = self._evaluations.pop(id).identity.key
                self._of_key[key].discard(id)
                touched.add(key)
        for evaluation in news.evaluations:
            self._evaluations[evaluation.id] = evaluation
            self._of_key.setdefault(evaluation.identity.key, set()).add(evaluation.id)
            touched.add(evaluation.identity.key)
        self._live = {e.id for e in news.evaluations if e.state == "running"}
        if released:
            self._newest = max(self._evaluations, default=0)  # a released id may be given again
        else:
            self._newest = max((e.id for e in news.evaluations), default=self._newest)
        for key in touched:
            self._settle(key)
        return True

    def trial(self, key: str) -> Trial | None:
        """The trial of a key, `None` where it never became one."""
        number = self._trial_of.get(key)
        return None if number is None else self.trials[number]

    def last(self, trial: Trial, rung: int) -> Evaluation | None:
        """The last attempt of the study's own evaluation on a rung."""
        own = [e for e in trial.evaluations if e.identity.rung == rung and self._is_own(e.identity)]
        return own[-1] if own else None

    def unfinished_rung(self, trial: Trial) -> int | None:
        """The first rung that waits to be claimed or handed on."""
        for rung in range(self._rungs):
            last = self.last(trial, rung)
            if (last is None and rung == 0) or (last is not None and last.state == "broken"):
                return rung
        return None

    @property
    def front(self) -> int:
        """How many trials no other one beats on the first rung."""
        if self._best:
            self._best = [row for row, best in zip(self._best, non_dominated(self._best), strict=True) if best]
        return len(self._best)

    def _add(self, proposal: Proposal) -> None:
        self.proposals.append(proposal)
        self.known.setdefault(proposal.key, proposal)
        self.numbers.setdefault(proposal.key, []).append(proposal.number)
        self.changed.add(proposal.number)
        self.genomes.add(proposal.genome)
        self.refused += sum(proposal.refused.values())
        if proposal.origin == "published":
            self.published.add(proposal.key)
        elif proposal.origin != "repaired":
            self.inside += proposal.outcome != "infeasible"
        self.useless = 0 if proposal.outcome == "new" else self.useless + 1

    def _settle(self, key: str) -> None:
        """Take a trial's evaluations in, and put its number where it belongs."""
        number = self._trial_of[key]
        found = tuple(self._evaluations[id] for id in sorted(self._of_key.get(key, ())))
        trial = self.trials[number] = replace(self.trials[number], evaluations=found)
        self.changed.update(self.numbers[key])
        was_done = number in self.done
        for group in (self.done, self.under_way, self.unfinished, self.running, self.failed):
            group.discard(number)
        first = self.last(trial, 0)
        if first is None or first.state in ("running", "broken"):
            self.under_way.add(number)
        elif first.state == "failed":
            self.failed.add(number)
        else:
            self.done.add(number)
            if not was_done:
                signs = ((goal, -1 if way == "maximize" else 1) for goal, way in self._goals.items())
                self._best.append([sign * goal_value(goal, trial, first) for goal, sign in signs])
        if self.unfinished_rung(trial) is not None:
            self.unfinished.add(number)
        if any(e.state == "running" for e in found if self._is_own(e.identity)):
            self.running.add(number)
