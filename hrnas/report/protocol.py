"""Tell how a study was measured, so that others can judge it and do it again.

The questions are those of the checklist of Lindauer and Hutter, Best practices for scientific research on neural
architecture search (JMLR 21(243), 2020, arXiv 1909.02453): the same space and training for all that is compared, the
data's split, the seeds, what it is compared with, and the time of all parts, wall and CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hrnas.ledger import FIDELITIES, Evaluation
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
) -> tuple[tuple[str, str], ...]:
    """Question and answer, in the checklist's order.

    Args:
        data: the data section of the recipe that the study trained by.
        rival: the study that the winner was held against.
    """
    done = [one for one in evaluations if one.state == "done"]
    by_part = {part: [e for e in done if e.identity.fidelity == part] for part in FIDELITIES}
    rows = [
        (
            "code",
            f"hrnas {(environment.get('packages') or {}).get('hrnas', '')} {environment.get('commit') or ''}".strip(),
        ),
        ("search space", str(card.get("space") or "")),
        ("driver", _driver(card.get("driver") or {})),
        *(("trained and scored by", how) for how in dict.fromkeys(_how(one) for one in done)),
        *(("data", label) for label in dict.fromkeys(one.identity.data for one in done)),
        *(
            ("split", _split(part, found[0]))
            for part, found in by_part.items()
            if found and "persons" in found[0].scores
        ),
        ("seed of the driver", _text((card.get("driver") or {}).get("seed"))),
        ("seed of the data", _text(data.get("seed"))),
        ("seeds of training", _seeds(evaluations)),
        (
            "compared with",
            f"{rival.name} ({_driver(rival.card.get('driver') or {})})" if rival else "no other study yet",
        ),
        *((f"time of {PARTS[part]}", _time(part, evaluations)) for part, found in by_part.items() if found),
    ]
    return tuple((name, value) for name, value in rows if value)


def _driver(options: Mapping[str, Any]) -> str:
    return ", ".join(str(value) for name, value in options.items() if name in ("kind", "sampler"))


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
    cpu = f"{format_seconds(sum(known))} CPU" if len(known) == len(ended) else "CPU not recorded"
    failed = sum(one.state == "failed" for one in ended)
    return f"{format_seconds(wall)}, {cpu}; {count(len(ended), 'evaluation')}" + (
        f", {failed} failed" if failed else ""
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)
