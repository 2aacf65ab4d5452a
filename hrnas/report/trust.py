"""How far a study's ranking can be trusted: which fidelity decided, and what its rank check found of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hrnas.cards.study import MEASURES
from hrnas.report.words import COSTS, align, count, format_seconds

__all__ = ["Decision", "Span", "Trust", "TrustPoint", "TrustRow", "decision", "format_trust", "trust_facts"]

NAMES = {
    **COSTS,
    "synflow": "SynFlow",
    "naswot": "NASWOT",
    "snip": "SNIP",
    "grad_norm": "gradient norm",
    "zico": "ZiCo",
    "jacob_cov": "Jacobian covariance",
    "inherited": "inherited weights",
}


class Decision(NamedTuple):
    """What a study's front was ranked by."""

    measure: str  # "proxy", "inherited", "naswot", "full"
    budget: int  # epochs of a proxy training, else 0


class Span(NamedTuple):
    """A figure and its bootstrap interval over architectures."""

    value: float
    low: float
    high: float


class TrustRow(NamedTuple):
    """One measure held against the reference; `None` where it cannot tell architectures apart, or was not measured."""

    name: str
    measure: str
    same_seed: bool  # it shares part of the reference's luck
    decided: bool
    n: int
    tau: Span | None
    spearman: Span | None
    regret_1: Span | None
    regret_3: Span | None
    of_ceiling: Span | None
    above_params: Span | None
    above_macs: Span | None
    seconds: float  # to measure one architecture


class TrustPoint(NamedTuple):
    """One architecture: what a measure says of it, and what the reference says with each of its seeds."""

    name: str
    value: float
    reference: tuple[float, ...]


class Trust(NamedTuple):
    """All that a rank check found. Without one there is only the verdict."""

    verdict: str
    checked: str = ""  # what was held against what
    ceiling: Span | None = None
    ceiling_n: int = 0
    rows: tuple[TrustRow, ...] = ()
    shown: str = ""  # the name of the measure that the points show
    points: tuple[TrustPoint, ...] = ()
    failed: tuple[str, ...] = ()


def decision(fidelity: str, rung: int, ladder: Sequence[Mapping[str, Any]]) -> Decision:
    """What a fidelity and a rung of a study's ladder measure."""
    step = ladder[rung] if rung < len(ladder) else {}
    if fidelity in MEASURES:
        return Decision(str(step.get("by") or MEASURES[fidelity][0]), 0)
    return Decision(fidelity, int(step.get("epochs") or 0) if fidelity == "proxy" else 0)


def trust_facts(document: Mapping[str, Any] | None, decided: Decision | None, study: str) -> Trust:
    """Say what a rank check found, or that there was none.

    Args:
        document: as `hrnas rankcheck` left it in the ledger.
        decided: what the study's front is ranked by; `None` where that is not known.
        study: how the command line finds it.
    """
    if document is None:
        unknown = f"unknown: never measured; `hrnas rankcheck {study}` measures it"
        return Trust(f"{_who(decided)}How far its ranking can be trusted is {unknown}.")
    rows = tuple(_row(row, decided) for row in document["rows"])
    reference, ceiling = document["reference"], document["ceiling"] or {}
    words = f"trainings of {count(reference['budget'], 'epoch')}"
    shown = _shown(rows, document["rows"])
    return Trust(
        verdict=_verdict(rows, decided, words, _span(ceiling.get("tau")), document),
        checked=f"{count(document['architectures'], 'architecture')}, held against {words} ({document['trainings']})",
        ceiling=_span(ceiling.get("tau")),
        ceiling_n=int(ceiling.get("n", 0)),
        rows=rows,
        shown=shown[1],
        points=tuple(
            TrustPoint(point["title"] or point["key"], point["values"][shown[0]], tuple(point["reference"]))
            for point in document["points"]
            if shown[0] in point["values"]
        ),
        failed=tuple(document["failed"]),
    )


def _row(row: Mapping[str, Any], decided: Decision | None) -> TrustRow:
    return TrustRow(
        name=NAMES.get(row["label"], row["label"]),
        measure=row["measure"],
        same_seed=row["same_seed"],
        decided=decided == (row["measure"], row["budget"]),
        n=row["n"],
        **{name: _span(row.get(name)) for name in TrustRow._fields[5:-1]},
        seconds=row["seconds"],
    )


def _span(values: Sequence[float] | None) -> Span | None:
    return Span(*values) if values else None


def _shown(rows: Sequence[TrustRow], labels: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The measure whose points are drawn, as the document and as the page call it: inherited, else what decided."""
    pairs = [(row, label["label"]) for row, label in zip(rows, labels, strict=True) if row.tau]
    if not pairs:
        return "", ""
    row, label = max(pairs, key=lambda pair: _interest(pair[0]))
    return label, row.name


def _interest(row: TrustRow) -> tuple[bool, ...]:
    return row.measure == "inherited", row.decided, row.measure == "proxy", not row.same_seed


# ---------------------------------------------------------------------------------------------------------------------
# in words


def _who(decided: Decision | None) -> str:
    if decided is None:
        return ""
    words = {"proxy": f"proxy training of {count(decided.budget, 'epoch')}", "full": "full training"}
    return f"What decides is {words.get(decided.measure) or NAMES.get(decided.measure, decided.measure)}. "


def _verdict(
    rows: Sequence[TrustRow],
    decided: Decision | None,
    reference: str,
    ceiling: Span | None,
    document: Mapping[str, Any],
) -> str:
    who = _who(decided)
    if decided in (("full", 0), (document["reference"]["measure"], document["reference"]["budget"])):
        again = f" Another seed of it ranks with Kendall's tau {_of(ceiling)} to it." if ceiling else ""
        return f"{who}It is no stand-in for anything longer that was measured.{again}"
    own = [row for row in rows if row.decided]
    if not own:
        return f"{who}How far it can be trusted is unknown: the rank check measured other things, not this one."
    row = min(own, key=lambda row: row.same_seed)
    if row.tau is None:
        return f"{who}It cannot tell the {row.n} architectures of the rank check apart."
    luck = ", with the same seed as theirs and so with part of their luck" if row.same_seed else ""
    sentences = [
        f"{who}Its ranking agrees with that of {reference} by Kendall's tau {_of(row.tau)}, over "
        f"{count(row.n, 'architecture')}{luck}."
    ]
    if ceiling and row.of_ceiling:
        sentences.append(f"Two seeds of those agree by {_of(ceiling)}: it reaches {_of(row.of_ceiling)} of that.")
    elif not ceiling:
        sentences.append("How well two seeds of those agree with each other was not measured.")
    if row.regret_3:
        sentences.append(f"Who trains only its three best loses {_of(row.regret_3, 3)} of score to the best.")
    sentences += [
        _against_cost(name, gap)
        for name, gap in (("the number of parameters", row.above_params), ("MACs", row.above_macs))
        if gap
    ]
    return " ".join(sentences)


def _against_cost(name: str, gap: Span) -> str:
    if gap.low > 0:
        return f"It ranks better than {name} alone, by {_of(gap)}."
    if gap.high < 0:
        return f"It ranks worse than {name} alone, by {_of(gap)}: ranking by that would have been better, and free."
    return f"That it ranks better than {name} alone is not shown: the difference is {_of(gap)}."


def _of(span: Span | None, digits: int = 2) -> str:
    return "-" if span is None else f"{span.value:.{digits}f} [{span.low:.{digits}f}, {span.high:.{digits}f}]"


def format_trust(trust: Trust) -> str:
    """A rank check as text for a terminal: a line for each measure, then what it means."""
    head = ("measure", "n", "tau", "Spearman", "regret of 1", "of 3", "of ceiling", "over params", "over MACs", "each")
    lines = [
        (
            row.name,
            str(row.n),
            *(_of(span) for span in (row.tau, row.spearman)),
            *(_of(span, 3) for span in (row.regret_1, row.regret_3)),
            *(_of(span) for span in (row.of_ceiling, row.above_params, row.above_macs)),
            format_seconds(row.seconds) if row.seconds else "-",
        )
        for row in trust.rows
    ]
    top = [f"two seeds of the reference: tau {_of(trust.ceiling)}, n {trust.ceiling_n}"] if trust.ceiling else []
    failed = [f"failed: {text}" for text in trust.failed]
    return "\n".join([trust.checked, *align([head, *lines], words={0}), *top, "", trust.verdict, *failed])
