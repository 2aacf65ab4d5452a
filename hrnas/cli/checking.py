"""The word on how far to believe a study: rankcheck."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from hrnas.cli.arguments import DATA, JSON, QUIET, RUNS, Argument, as_count, word
from hrnas.cli.printing import to_json


@word(
    Argument("STUDY", "", "a name under --runs, a run folder, or a study card that is not begun yet"),
    Argument(
        "--count", "N", "so many architectures beside the published points (default: 24; of a table: all)", as_count
    ),
    Argument("--table", "CSV", "architectures and trainings from a recorded table, instead of training", Path),
    Argument("--seeds", "K", "train the reference with so many seeds (default: 2)", as_count, 2),
    DATA,
    RUNS,
    QUIET,
    JSON,
)
def rankcheck(said: Namespace) -> int:
    """Measure how far a study's ranking can be trusted.

    Measures the same architectures in every way that is cheaper than training, trains them as the study does and three
    times as long, and prints how well each ranking foretells the longest training's, with intervals. A check that was
    stopped goes on when the same command is given again. The result stands in the study's ledger and its report.
    """
    from hrnas.names import open_study
    from hrnas.progress import RankcheckProgress
    from hrnas.report.facts import read_facts
    from hrnas.report.page import write_report
    from hrnas.report.trust import format_trust
    from hrnas.search.rank_launch import launch_rankcheck

    with RankcheckProgress(sys.stderr, quiet=said.quiet) as progress:
        folder, document = launch_rankcheck(
            said.study,
            said.runs,
            said.data,
            count=said.count,
            seeds=said.seeds,
            table=said.table,
            on_unit=progress,
        )
    ledger = open_study(str(folder))
    try:
        facts = read_facts(ledger)
    finally:
        ledger.close()
    page = write_report(folder)
    print(to_json(document) if said.json else f"{format_trust(facts.trust)}\n\nreport: {page}")
    for reason in document["failed"]:
        print(reason, file=sys.stderr)
    return 1 if document["failed"] else 0
