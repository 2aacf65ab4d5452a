"""Turn a study's trials into facts: what the figures draw, the page tells and `hrnas front` prints.

ledger -> `read_facts` -> `StudyFacts`. Everything that has to be decided (which measurements may be compared, who is on
the front, which members are within noise of each other, what may be claimed) is decided here, once, and tested.
"""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hrnas.ledger import FIDELITIES, Evaluation, Ledger, Proposal, StudyRecord, Trial
from hrnas.pareto import history, non_dominated, oriented, oriented_reference, reference_point
from hrnas.report.claims import caveats, summary
from hrnas.report.protocol import protocol
from hrnas.report.trust import Decision, Trust, decision, trust_facts
from hrnas.report.words import (
    COSTS,
    SCORES,
    align,
    count,
    describe_network,
    describe_stages,
    format_cost,
    format_seconds,
    format_time,
)

__all__ = [
    "FrontRow",
    "HypervolumeStep",
    "Interval",
    "Outcome",
    "Point",
    "Section",
    "Setting",
    "StudyFacts",
    "Table",
    "format_front",
    "front_document",
    "front_table",
    "hypervolume_document",
    "hypervolume_history",
    "read_facts",
    "staircase",
    "study_facts",
    "train_command",
    "whole",
]

QUARTERS = ("cheapest quarter", "second quarter", "third quarter", "dearest quarter")
FULL_TRAINER = "lite_hrnet_coco"  # on the shelf
COCO_ROOT = "$HRNAS_DATA/coco"  # where a trainer card looks by itself


# ---------------------------------------------------------------------------------------------------------------------
# the facts


class Setting(NamedTuple):
    """What two measurements must share to be compared; a front never mixes settings."""

    fidelity: str
    rung: int
    input: str
    data: str
    recipe: str


class Interval(NamedTuple):
    """A bootstrap interval over pictures."""

    low: float
    high: float


class Point(NamedTuple):
    """One trial in one setting. Scores lie in 0..1; costs are in single units, a paper's scale in the unit it prints.

    Of several seeds the first that was asked for counts, as it does for the search; the others are in `seed_scores`.
    """

    number: int
    key: str
    title: str  # the published name, or ''
    origin: str  # 'driver', 'random' or 'published'
    network: str  # its kinds and widths in one line
    stages: tuple[str, ...]  # and stage by stage
    score: float
    score_interval: Interval | None
    ap: float | None
    ap_interval: Interval | None
    costs: dict[str, float]
    seconds: float | None  # of this measurement
    seed_scores: tuple[tuple[int, float], ...]  # (seed, score), in the order in which they were asked for
    seed_oks: tuple[float, ...]  # the mean OKS of each, where it was recorded
    on_front: bool
    within_noise: tuple[str, ...]  # keys of the front members whose interval overlaps this front member's

    @property
    def name(self) -> str:
        """The published name, or the trial's number."""
        return self.title or f"trial {self.number}"


class HypervolumeStep(NamedTuple):
    """The front after one more finished trial."""

    finished: int
    number: int
    key: str
    name: str
    origin: str
    score: float  # its own
    hypervolume: float  # score times decades of cost, for two goals
    front: int  # members


class Section(NamedTuple):
    """All that was measured in one setting, and so can be compared."""

    setting: Setting
    label: str
    points: tuple[Point, ...]  # in trial order
    history: tuple[HypervolumeStep, ...]
    goals: dict[str, str]
    reference: dict[str, float]
    costs: tuple[str, ...]  # those to draw, the goals first


class Outcome(NamedTuple):
    """How often something happened, and why."""

    name: str
    meaning: str
    times: int
    reasons: tuple[tuple[str, int], ...]  # most frequent first


class Table(NamedTuple):
    """Names and values, two columns."""

    title: str
    rows: tuple[tuple[str, str], ...]


class StudyFacts(NamedTuple):
    """All that the page shows."""

    name: str
    about: str
    card: dict[str, Any]
    resolved: dict[str, Any]  # what the card's names stood for: the recipe, the space's choices
    wanted: int  # trials that the card asks for
    finished: int  # trials measured at least once
    seconds: float  # spent on evaluations, unfinished ones not counted
    last: str  # when the last result came
    sections: tuple[Section, ...]  # the one to look at first, then the others
    proposals: tuple[Outcome, ...]
    evaluations: tuple[Outcome, ...]
    tables: tuple[Table, ...]
    summary: tuple[str, ...]  # sentences
    caveats: tuple[str, ...]  # what is not yet checked and what the figures cannot say
    trust: Trust  # how far the ranking that decided foretells a longer training's

    @property
    def main(self) -> Section | None:
        """The section to look at first; None while nothing is finished."""
        return self.sections[0] if self.sections else None


class FrontRow(NamedTuple):
    """One line of the front's table; rank 1 has the best score."""

    rank: int
    key: str
    title: str
    score: float
    ap: float | None
    params: int | None
    macs: int | None
    seconds: float | None
    score_interval: Interval | None
    ap_interval: Interval | None
    seeds: int
    within_noise: tuple[int, ...]  # ranks
    network: str
    command: str  # retrains it


# ---------------------------------------------------------------------------------------------------------------------
# from the ledger


def read_facts(
    ledger: Ledger, rival: StudyFacts | None = None, supernet: Mapping[str, Any] | None = None
) -> StudyFacts:
    """Read everything that the page shows from a ledger; `rival` and `supernet` as in `study_facts`."""
    return study_facts(ledger.study(), ledger.trials(), ledger.proposals(), ledger.rank_check(), rival, supernet)


def study_facts(
    record: StudyRecord,
    trials: Sequence[Trial],
    proposals: Sequence[Proposal],
    rank_check: Mapping[str, Any] | None = None,
    rival: StudyFacts | None = None,
    supernet: Mapping[str, Any] | None = None,
) -> StudyFacts:
    """Decide what a study's trials say.

    Args:
        rank_check: the document of `hrnas rankcheck`, if there is one.
        rival: another study that this one's winner is held against, usually a random search.
        supernet: what the run folder tells of the study's supernet, if it has one.
    """
    card = _without_password(record.card)
    data = _data(card, record.resolved)
    evaluations = [evaluation for trial in trials for evaluation in trial.evaluations]
    sections = _sections(trials, card)
    ends = [evaluation.finished for evaluation in evaluations if evaluation.finished is not None]
    wanted, finished = int(card.get("trials", len(trials))), sum(1 for trial in trials if trial.final is not None)
    return StudyFacts(
        name=record.name,
        about=str(card.get("about") or ""),
        card=card,
        resolved=record.resolved,
        wanted=wanted,
        finished=finished,
        seconds=sum(evaluation.seconds or 0.0 for evaluation in evaluations),
        last=format_time(max(ends, default=record.created)),
        sections=sections,
        proposals=_proposal_outcomes(proposals, card),
        evaluations=_evaluation_outcomes(evaluations),
        tables=(
            Table(
                "How this was measured",
                protocol(card, data, evaluations, record.environment, rival, supernet or {}, proposals),
            ),
            *_climbers(trials, card),
            _environment(record),
        ),
        summary=summary(finished, wanted, sections),
        caveats=caveats(sections, card, rival),
        trust=trust_facts(rank_check, _decision(sections, card), record.name),
    )


def _decision(sections: Sequence[Section], card: Mapping[str, Any]) -> Decision | None:
    """What the front is ranked by; while nothing is measured, what it will be ranked by."""
    ladder = card.get("ladder") or ()
    if sections:
        return decision(sections[0].setting.fidelity, sections[0].setting.rung, ladder)
    return decision(ladder[-1].get("fidelity", "proxy"), len(ladder) - 1, ladder) if ladder else None


def _sections(trials: Sequence[Trial], card: Mapping[str, Any]) -> tuple[Section, ...]:
    """One section per setting: the ladder's rungs from the highest, then what else was measured, dear before cheap."""
    goals = dict(card.get("goals") or {"score": "maximize", "macs": "minimize"})
    groups: dict[Setting, list[tuple[Trial, list[Evaluation]]]] = {}
    for trial in trials:
        for setting, done in _finished_by_setting(trial, goals).items():
            groups.setdefault(setting, []).append((trial, done))
    ladder = {rung.get("fidelity", "proxy") for rung in card.get("ladder") or ()}

    def interest(setting: Setting) -> tuple[bool, int, int, int]:
        searched = (
            not ladder or setting.fidelity in ladder
        )  # a pick retrained later at 'full' is not the search's front
        return searched, FIDELITIES.index(setting.fidelity), setting.rung, len(groups[setting])

    order = sorted(groups, key=interest, reverse=True)
    return tuple(_section(setting, groups[setting], goals, card, order[0].input) for setting in order)


def _finished_by_setting(trial: Trial, goals: Mapping[str, str]) -> dict[Setting, list[Evaluation]]:
    found: dict[Setting, list[Evaluation]] = {}
    for evaluation in trial.evaluations:
        known = {**trial.costs, **evaluation.scores}
        if evaluation.state == "done" and all(_number(known.get(name)) is not None for name in ("score", *goals)):
            one = evaluation.identity
            setting = Setting(one.fidelity, one.rung, one.input, one.data, one.recipe)
            found.setdefault(setting, []).append(evaluation)
    return found


def _section(
    setting: Setting,
    group: Sequence[tuple[Trial, list[Evaluation]]],
    goals: dict[str, str],
    card: Mapping[str, Any],
    counted_at: str,
) -> Section:
    pairs = [(trial, done[0]) for trial, done in group]
    best = non_dominated(oriented(pairs, goals))
    intervals = {
        trial.key: _interval(evaluation.scores, "score")
        for (trial, evaluation), on_front in zip(pairs, best, strict=True)
        if on_front
    }
    points = tuple(
        _point(trial, done, bool(on_front), _overlapping(trial.key, intervals))
        for (trial, done), on_front in zip(group, best, strict=True)
    )
    reference = reference_point(
        goals, card.get("reference") or {}, card.get("limits") or {}, [trial for trial, _ in pairs]
    )
    shown = [goal for goal in goals if goal not in SCORES] + ["macs", "params"]
    return Section(
        setting=setting,
        label=_label(setting, card, counted_at),
        points=points,
        history=hypervolume_history(pairs, goals, reference),
        goals=goals,
        reference=reference,
        costs=tuple(name for name in dict.fromkeys(shown) if any(name in point.costs for point in points)),
    )


def _point(trial: Trial, done: Sequence[Evaluation], on_front: bool, within_noise: tuple[str, ...]) -> Point:
    scores = done[0].scores
    return Point(
        number=trial.number,
        key=trial.key,
        title=trial.title,
        origin=trial.origin,
        network=describe_network(trial.architecture),
        stages=describe_stages(trial.architecture),
        score=float(scores["score"]),
        score_interval=_interval(scores, "score"),
        ap=_number(scores.get("ap")),
        ap_interval=_interval(scores, "ap"),
        costs={name: float(value) for name, value in trial.costs.items() if _number(value) is not None},
        seconds=done[0].seconds,
        seed_scores=tuple((one.identity.seed, float(one.scores["score"])) for one in done),
        seed_oks=tuple(oks for one in done if (oks := _number(one.scores.get("oks"))) is not None),
        on_front=on_front,
        within_noise=within_noise if on_front else (),
    )


def _interval(scores: Mapping[str, Any], name: str) -> Interval | None:
    """The score's own interval; where only those of its parts were recorded, that of the part which the score is."""
    names = [name]
    if name == "score":
        names += [part for part in ("oks", "ap") if scores.get(part) == scores["score"]]
    for part in names:
        low, high = _number(scores.get(f"{part}_low")), _number(scores.get(f"{part}_high"))
        if low is not None and high is not None:
            return Interval(low, high)
    return None


def _overlapping(key: str, intervals: Mapping[str, Interval | None]) -> tuple[str, ...]:
    own = intervals.get(key)
    if own is None:
        return ()
    return tuple(
        other
        for other, its in intervals.items()
        if other != key and its is not None and own.low <= its.high and its.low <= own.high
    )


def hypervolume_history(
    found: Sequence[tuple[Trial, Evaluation]], goals: Mapping[str, str], reference: Mapping[str, float]
) -> tuple[HypervolumeStep, ...]:
    """The front after each finished trial, in the order in which they finished."""
    order = sorted(found, key=lambda pair: (pair[1].finished or 0.0, pair[1].id))
    values = oriented(order, goals)
    volumes = history(values, oriented_reference(goals, reference)) if order else []
    steps = []
    best = values[:0]
    for finished, ((trial, evaluation), volume) in enumerate(zip(order, volumes, strict=True), start=1):
        together = np.vstack([best, values[finished - 1 : finished]])
        best = together[non_dominated(together)]
        steps.append(
            HypervolumeStep(
                finished=finished,
                number=trial.number,
                key=trial.key,
                name=trial.title or f"trial {trial.number}",
                origin=trial.origin,
                score=float(evaluation.scores["score"]),
                hypervolume=volume,
                front=len(best),
            )
        )
    return tuple(steps)


def staircase(points: Sequence[Point], measure: str, cost: str) -> tuple[tuple[float, float], ...]:
    """The (cost, score) of the points that no other beats in one figure's two axes, cheapest first."""
    known = [
        (point.costs[cost], value)
        for point in points
        if cost in point.costs and (value := point.score if measure == "score" else point.ap) is not None
    ]
    stays = non_dominated([(price, -value) for price, value in known])
    return tuple(sorted(pair for pair, best in zip(known, stays, strict=True) if best))


# ---------------------------------------------------------------------------------------------------------------------
# what was proposed, what was trained, and with what


_ORIGINS = {
    "published": "published points",
    "repaired": "from the driver, made smaller to fit the limits",
    "random": "drawn at random",
}


def _proposal_outcomes(proposals: Sequence[Proposal], card: Mapping[str, Any]) -> tuple[Outcome, ...]:
    meanings = {
        "new": "a network not seen before, within the limits: it became a trial",
        "duplicate": "a network already known: its result was used again, nothing was trained",
        "infeasible": "beyond the card's limits as asked for or drawn: never trained; made smaller, or drawn anew",
    }
    limits = card.get("limits") or {}
    reasons: dict[str, Counter[str]] = {name: Counter() for name in meanings}
    counts: Counter[str] = Counter()
    refused: set[str] = set()
    for proposal in proposals:
        counter = reasons.setdefault(proposal.outcome, Counter())
        for names, times in proposal.refused.items():
            counts["infeasible"] += times
            for name in names.split(", "):
                reasons["infeasible"][f"{COSTS.get(name, name)} above {format_cost(limits[name])}"] += times
        if proposal.outcome == "infeasible":
            refused.add(proposal.key)
            continue
        counts[proposal.outcome] += 1
        if proposal.outcome == "duplicate":
            counter["of a network refused before" if proposal.key in refused else "of an earlier trial"] += 1
        else:
            counter[_ORIGINS.get(proposal.origin, f"from the {proposal.origin}")] += 1
    return tuple(
        Outcome(name, meanings.get(name, ""), counts[name], tuple(counter.most_common()))
        for name, counter in reasons.items()
    )


def _evaluation_outcomes(evaluations: Sequence[Evaluation]) -> tuple[Outcome, ...]:
    meanings = {
        "done": "measured",
        "running": "claimed by a worker, not finished yet",
        "failed": "came to a bad end by itself and is not tried again",
        "broken": "its worker disappeared; tried once more",
    }
    return tuple(
        Outcome(
            name,
            meaning,
            sum(evaluation.state == name for evaluation in evaluations),
            tuple(Counter(e.reason for e in evaluations if e.state == name and e.reason).most_common()),
        )
        for name, meaning in meanings.items()
    )


def _data(card: Mapping[str, Any], resolved: Mapping[str, Any]) -> Mapping[str, Any]:
    """The data that the study trained on: the recipe's, in which the card's own stands already."""
    recipe = resolved.get("recipe") or {}
    return recipe.get("data") or card.get("data") or {}


def _climbers(trials: Sequence[Trial], card: Mapping[str, Any]) -> tuple[Table, ...]:
    """How many of each quarter of costs got how far up the ladder: whether it kept only what is small, or large."""
    ladder = card.get("ladder") or ()
    cost = next((goal for goal in card.get("goals") or () if goal not in SCORES), "macs")
    seed = (card.get("driver") or {}).get("seed", 0)
    reached = {
        trial.number: max(rungs)
        for trial in trials
        if cost in trial.costs
        and (rungs := [e.identity.rung for e in trial.evaluations if e.state == "done" and e.identity.seed == seed])
    }
    known = sorted((trial for trial in trials if trial.number in reached), key=lambda trial: trial.costs[cost])
    if len(ladder) < 2 or len(known) < 4:
        return ()
    rows = []
    for quarter, members in zip(QUARTERS, np.array_split(np.arange(len(known)), len(QUARTERS)), strict=True):
        ends = [format_cost(known[index].costs[cost]) for index in members[[0, -1]]]
        climbed = [sum(reached[known[index].number] >= rung for index in members) for rung in range(1, len(ladder))]
        told = ", ".join(f"{number} on rung {rung}" for rung, number in enumerate(climbed, start=2))
        rows.append((f"{quarter}, {' to '.join(ends)}", f"{told}, of {len(members)}"))
    return (Table(f"Who climbed, by {COSTS.get(cost, cost)}", tuple(rows)),)


def _environment(record: StudyRecord) -> Table:
    return Table("Environment", (*_flat(record.environment), ("study created", format_time(record.created))))


def _flat(tree: object, path: str = "") -> tuple[tuple[str, str], ...]:
    if isinstance(tree, Mapping):
        return tuple(row for key, value in tree.items() for row in _flat(value, f"{path}.{key}" if path else str(key)))
    if isinstance(tree, (list, tuple)):
        tree = ", ".join(str(part) for part in tree)
    return ((path, "unknown" if tree is None else str(tree)),)


# ---------------------------------------------------------------------------------------------------------------------
# the front as a table


def front_table(facts: StudyFacts, study: str | None = None) -> tuple[FrontRow, ...]:
    """The front of the main section, best score first.

    Args:
        study: how the command line finds the study (a name or a path); by default the study's name.
    """
    section = facts.main
    if section is None:
        return ()
    front = sorted(
        (point for point in section.points if point.on_front), key=lambda point: (-point.score, point.number)
    )
    ranks = {point.key: rank for rank, point in enumerate(front, start=1)}
    return tuple(
        FrontRow(
            rank=ranks[point.key],
            key=point.key,
            title=point.title,
            score=point.score,
            ap=point.ap,
            params=whole(point.costs.get("params")),
            macs=whole(point.costs.get("macs")),
            seconds=point.seconds,
            score_interval=point.score_interval,
            ap_interval=point.ap_interval,
            seeds=len(point.seed_scores),
            within_noise=tuple(sorted(ranks[key] for key in point.within_noise)),
            network=point.network,
            command=train_command(facts, point.key, study),
        )
        for point in front
    )


def train_command(facts: StudyFacts, key: str, study: str | None = None) -> str:
    """What trains one of the study's networks from scratch, to be typed; arguments as in `front_table`."""
    return shlex.join(["hrnas", "train", f"{study or facts.name}#{key}", *_trainer(facts)])


def _trainer(facts: StudyFacts) -> tuple[str, ...]:
    """What retrains a pick: on COCO the published recipe on the same pictures, else the study's own trainer."""
    data = _data(facts.card, facts.resolved)
    if data.get("kind") != "coco" or data.get("name", "coco") != "coco":
        return "--trainer", str(facts.card.get("trainer", ""))
    root = data.get("root", COCO_ROOT)
    return "--trainer", FULL_TRAINER, *(() if root == COCO_ROOT else ("--data", str(root)))


def format_front(facts: StudyFacts) -> str:
    """The front as text for a terminal: what was compared, then one line per member."""
    rows = front_table(facts)
    if not rows or facts.main is None:
        return f"{facts.name}: no trial has finished yet ({facts.wanted} wanted)"
    lines = [
        (
            str(row.rank),
            row.key,
            row.title or "-",
            f"{row.score:.3f}",
            _interval_text(row.score_interval),
            "-" if row.ap is None else f"{row.ap:.3f}",
            format_cost(row.params),
            format_cost(row.macs),
            format_seconds(row.seconds),
            ", ".join(map(str, row.within_noise)) or "-",
        )
        for row in rows
    ]
    head = ("rank", "key", "title", "score", "interval", "AP", "params", "MACs", "trained", "noise")
    title = f"{facts.name}: {len(rows)} of {len(facts.main.points)} trials on the front, {facts.main.label}"
    notes = ["noise: ranks whose bootstrap interval overlaps this one's"] if any(r.within_noise for r in rows) else []
    return "\n".join([title, *align([head, *lines], words={1, 2}), *notes])


def front_document(facts: StudyFacts, study: str | None = None) -> dict[str, Any]:
    """The front as one JSON document: counts are integers, scores 0..1, times seconds.

    Args:
        study: how the command line finds the study, for the retrain commands; by default the study's name.
    """
    section = facts.main
    return {
        "study": facts.name,
        "finished": facts.finished,
        "wanted": facts.wanted,
        "setting": section.setting._asdict() if section else None,
        "goals": section.goals if section else facts.card.get("goals"),
        "reference": section.reference if section else facts.card.get("reference"),
        "hypervolume": section.history[-1].hypervolume if section else None,
        "front": [
            row._asdict()
            | {"score_interval": _pair(row.score_interval), "ap_interval": _pair(row.ap_interval)}
            | {"within_noise": list(row.within_noise)}
            for row in front_table(facts, study)
        ],
    }


def hypervolume_document(facts: StudyFacts) -> list[dict[str, Any]]:
    """The hypervolume after each finished trial of the main section, as JSON-able rows."""
    return [step._asdict() for step in facts.main.history] if facts.main else []


# ---------------------------------------------------------------------------------------------------------------------
# helpers


def _without_password(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card as it may be shown: a database address keeps its user and loses its password."""
    address = card.get("ledger")
    hidden = {"ledger": re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", address)} if isinstance(address, str) else {}
    return {**card, **hidden}


def _label(setting: Setting, card: Mapping[str, Any], counted_at: str) -> str:
    """How a setting measures: 'proxy, 6 epochs, rung 2 of 2, input 128x96, data ..., recipe ...'.

    Args:
        counted_at: the search's input, at which its trials' costs were counted.
    """
    ladder = card.get("ladder") or ()
    parts = [setting.fidelity]
    step = ladder[setting.rung] if setting.rung < len(ladder) else {}
    if setting.fidelity == step.get("fidelity", "proxy") and step:
        parts += [count(int(step["epochs"]), "epoch")] if step.get("epochs") else []
        parts += [f"score {step['by']}"] if step.get("by") else []
        parts += [f"rung {setting.rung + 1} of {len(ladder)}"] if len(ladder) > 1 else []
    elif setting.rung:
        parts.append(f"rung {setting.rung + 1}")
    parts += [f"input {setting.input}", f"data {setting.data}", f"recipe {setting.recipe}"]
    return ", ".join([*parts, *([f"costs counted at {counted_at}"] if setting.input != counted_at else [])])


def _interval_text(interval: Interval | None) -> str:
    return f"{interval.low:.3f}-{interval.high:.3f}" if interval else "-"


def _pair(interval: Interval | None) -> list[float] | None:
    return list(interval) if interval else None


def whole(value: float | None) -> int | None:
    """A count as JSON has it."""
    return None if value is None else round(value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None
