"""Write a study's page: one file that holds its figures, its tables and plotly.js, and asks nothing of the network.

run folder -> ledger -> facts -> figures -> `report.html`
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from hrnas.ledger import Ledger
from hrnas.names import SUPERNET_FILE, SUPERNET_FOLDER, open_study, study_as_typed
from hrnas.reading import write_atomically
from hrnas.report.facts import StudyFacts, front_table, read_facts
from hrnas.report.figures import (
    CONFIG,
    FONT,
    SHADES,
    agreement_figure,
    front_figure,
    history_figure,
    progress_figure,
    trust_figure,
)
from hrnas.report.words import COSTS, SCORES, describe_goals, format_cost, format_seconds

__all__ = ["FILE", "render_page", "write_report"]

FILE = "report.html"
MOST_REASONS = 6  # shown for one outcome


class Panel(NamedTuple):
    """Where one figure of a section stands on the page."""

    id: str
    section: int
    caption: str
    measure: str
    cost: str


def write_report(folder: Path | str, ledger: Ledger | None = None, rival: StudyFacts | None = None) -> Path:
    """Write `report.html` into a study's run folder; an older page is replaced as a whole.

    Args:
        ledger: the study's ledger where it is open already; by default the folder's own is opened and closed.
        rival: another study that this one's winner is held against, usually a random search.

    Raises:
        UserError: there is no study in the folder.
    """
    folder = Path(folder)
    opened = ledger or open_study(str(folder))
    try:
        facts = read_facts(opened, rival, _supernet(folder))
    finally:
        if ledger is None:
            opened.close()
    page = folder / FILE
    write_atomically(page, render_page(facts, study=study_as_typed(folder, facts.name)))
    return page


def _supernet(folder: Path) -> dict[str, Any]:
    """What the study's run folder tells of its supernet; empty where there is none."""
    file = folder / SUPERNET_FOLDER / SUPERNET_FILE
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def render_page(facts: StudyFacts, study: str | None = None) -> str:
    """The page as HTML.

    Args:
        study: what the retrain commands call the study; by default its name.
    """
    panels = _panels(facts)
    figures = _figures(facts, panels) if panels or facts.trust.points else ""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cost": format_cost, "time": format_seconds}
    main = facts.main
    return environment.get_template("page.html").render(
        facts=facts,
        tiles=_tiles(facts),
        goals=describe_goals(main.goals) if main else "",
        reference=", ".join(
            f"{(SCORES | COSTS).get(name, name)} {format_cost(at)}" for name, at in main.reference.items()
        )
        if main
        else "",
        panels=panels,
        front=front_table(facts, study),
        cards=_cards(facts),
        figures=figures,
        plotly_js=get_plotlyjs() if figures else "",
        costs=COSTS,
        shades=SHADES,
        font=FONT,
        most_reasons=MOST_REASONS,
    )


def _panels(facts: StudyFacts) -> tuple[Panel, ...]:
    return tuple(
        Panel(
            id=f"front-{number}-{measure}-{cost}",
            section=number,
            caption=f"{SCORES[measure][0].upper()}{SCORES[measure][1:]} over {COSTS.get(cost, cost)}",
            measure=measure,
            cost=cost,
        )
        for number, section in enumerate(facts.sections)
        for measure in SCORES
        for cost in section.costs
    )


def _figures(facts: StudyFacts, panels: tuple[Panel, ...]) -> str:
    """All figures as one JSON text that may stand inside a script element."""
    drawn = {panel.id: front_figure(facts.sections[panel.section], panel.measure, panel.cost) for panel in panels}
    if facts.main:
        drawn |= {"history": history_figure(facts.main), "progress": progress_figure(facts.main)}
    if facts.trust.points:
        drawn |= {"trust": trust_figure(facts.trust), "agreement": agreement_figure(facts.trust)}
    plain = {name: json.loads(figure.to_json()) for name, figure in drawn.items()}
    for figure in plain.values():
        figure["layout"].pop("template", None)  # 7 kB each, and all that differs from plotly's bare look is said
    return json.dumps({"figures": plain, "config": CONFIG}).replace("<", "\\u003c")


def _cards(facts: StudyFacts) -> tuple[tuple[str, str], ...]:
    """What was asked for, as YAML: (title, text)."""
    resolved = {f"The {name}": tree for name, tree in facts.resolved.items()}
    return tuple(
        (title, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=90, default_flow_style=None))
        for title, tree in {"The study card, everything filled in": facts.card, **resolved}.items()
    )


def _tiles(facts: StudyFacts) -> tuple[tuple[str, str], ...]:
    """The figures to see first: (value, what it is)."""
    tiles = [(f"{facts.finished} / {facts.wanted}", "trials finished")]
    if facts.main:
        front = [point for point in facts.main.points if point.on_front]
        best = max(facts.main.points, key=lambda point: point.score)
        tiles += [(f"{best.score:.3f}", f"best score ({best.name})")]
        tiles += [(f"{best.ap:.3f}", "its AP")] if best.ap is not None else []
        tiles += [(str(len(front)), "networks on the front")]
        tiles += [(f"{facts.main.history[-1].hypervolume:.3g}", "hypervolume")]
    return (*tiles, (format_seconds(facts.seconds), "spent on evaluations"))
