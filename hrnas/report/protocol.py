"""Tell how a study was measured, so that others can judge it and do it again.

The questions are those of the checklist of Lindauer and Hutter, Best practices for scientific research on neural
architecture search (JMLR 21(243), 2020, arXiv 1909.02453): the same space and training for all that is compared, the
data's split, the seeds, what it is compared with, and the time of all parts, wall and CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hrnas.ledger import Evaluation, Proposal
from hrnas.report.words import count, format_seconds

if TYPE_CHECKING:
    from hrnas.report.facts import StudyFacts

__all__ = ["protocol"]

PARTS = {
    "cost": "counting",
    "zero_cost": "zero-cost scores",
    "inherited": "scores with inherited weights, calibration included",
    "proxy": "proxy training",
    "full": "full training of picks",
}
MOST_SEEDS = 12  # shown


def protocol(
    card: Mapping[str, Any],
    data: Mapping[str, Any],
    evaluations: Sequence[Evaluation],
    environment: Mapping[str, Any],
    rival: StudyFacts | None,
    supernet: Mapping[str, Any],
    proposals: Sequence[Proposal] = (),
) -> tuple[tuple[str, str], ...]:
    """Question and answer, in the checklist's order.

    Args:
        data: the data section of the recipe that the study trained by.
        rival: the study that the winner was held against.
        supernet: what its run folder tells of the supernet's training; empty where there is none.
        proposals: of the study's driver.
    """
    done = [one for one in evaluations if one.state == "done"]
    driver = card.get("driver") or {}
    first = {part: one for part in PARTS for one in reversed(done) if one.identity.fidelity == part}
    packages = environment.get("packages") or {}
    rows = [
        ("code", " ".join(["hrnas", str(packages.get("hrnas", "")), str(environment.get("commit") or "")]).strip()),
        ("search space", _text(card.get("space"))),
        ("driver", _driver(driver)),
        *(("trained and scored by", how) for how in dict.fromkeys(map(_how, done))),
        *(("data", label) for label in dict.fromkeys(one.identity.data for one in done)),
        *(("split", _split(part, one)) for part, one in first.items() if "persons" in one.scores),
        ("predictor", _predictor(driver, proposals)),
        ("inside the limits", _inside(proposals) if card.get("limits") else ""),
        ("seed of the driver", _text(driver.get("seed"))),
        ("seed of the data", _text(data.get("seed"))),
        ("seeds of training", _seeds(evaluations)),
        ("compared with", f"{rival.name} ({_driver(rival.card['driver'])})" if rival else "no other study yet"),
        ("time of supernet training", _spent(supernet["seconds"], supernet.get("cpu_seconds")) if supernet else ""),
        *((f"time of {PARTS[part]}", _time(part, evaluations)) for part in first),
    ]
    return tuple((name, value) for name, value in rows if value)


def _driver(options: Mapping[str, Any]) -> str:
    return ", ".join(str(value) for name, value in options.items() if name in ("kind", "sampler"))


def _predictor(driver: Mapping[str, Any], proposals: Sequence[Proposal]) -> str:
    """What the last of its proposals noted of it; empty where there is no predictor."""
    chosen = [one.state["predictor"] for one in proposals if "predictor" in one.state]
    if not chosen:
        return "has not ranked networks better than one of their costs does" if driver.get("predictor") else ""
    last = chosen[-1]
    return (
        f"Kendall's tau {last['tau']:.2f} with networks left out, one cost by itself {last['of_costs']:.2f} "
        f"(at the last of {count(len(chosen), 'proposal')} that it chose)"
    )


def _inside(proposals: Sequence[Proposal]) -> str:
    """How much of what was asked for or drawn the limits let through as it came."""
    refused = sum(sum(one.refused.values()) for one in proposals)
    inside = sum(one.outcome != "infeasible" and one.origin not in ("published", "repaired") for one in proposals)
    if not refused + inside:
        return ""
    return f"{inside:,} of {inside + refused:,} networks ({inside / (inside + refused):.1%}) as they were proposed"


def _how(one: Evaluation) -> str:
    return f"{one.identity.recipe}, input {one.identity.input}, {one.identity.fidelity}"


def _split(part: str, one: Evaluation) -> str:
    learnt = one.scores.get("persons_train")
    scored = f"scored on {one.scores['persons']:,} " + (
        "of the validation set" if part == "full" else "held out from the training pictures; validation set unseen"
    )
    return f"{part}: " + (scored if learnt is None else f"{learnt:,} persons learnt from, {scored}")


def _seeds(evaluations: Sequence[Evaluation]) -> str:
    used = sorted({one.identity.seed for one in evaluations})
    more = len(used) - MOST_SEEDS
    return ", ".join(map(str, used[:MOST_SEEDS])) + (f" and {more} more" if more > 0 else "")


def _time(part: str, evaluations: Sequence[Evaluation]) -> str:
    """Of all evaluations that ended, those that failed too."""
    ended = [one for one in evaluations if one.identity.fidelity == part and one.seconds is not None]
    wall = sum(one.seconds or 0.0 for one in ended)
    known = [one.cpu_seconds for one in ended if one.cpu_seconds is not None]
    failed = sum(one.state == "failed" for one in ended)
    spent = _spent(wall, sum(known) if len(known) == len(ended) else None)
    return f"{spent}; {count(len(ended), 'evaluation')}" + (f", {failed} failed" if failed else "")


def _spent(wall: float, cpu: float | None) -> str:
    return f"{format_seconds(wall)}, " + ("CPU not recorded" if cpu is None else f"{format_seconds(cpu)} CPU")


def _text(value: object) -> str:
    return "" if value is None else str(value)
