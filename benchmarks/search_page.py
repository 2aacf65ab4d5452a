"""Write the tables and pictures of docs/search.md from the runs in benchmarks/results/bench/, which `make bench` makes.

python benchmarks/search_page.py
"""

from __future__ import annotations

import re
from pathlib import Path

from hrnas.bench.drawing import draw_svg
from hrnas.bench.problems import PROBLEMS
from hrnas.bench.records import read_runs
from hrnas.bench.stopping import as_table as as_ladders
from hrnas.bench.stopping import read_replays
from hrnas.bench.summary import as_table, summarise

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "search.md"
RUNS = ROOT / "benchmarks" / "results" / "bench"
TABLE = re.compile(r"(<!-- (methods|ladders) on (\w+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)


def filled(page: str) -> str:
    """The page with its tables as the files say."""
    tables = {"methods": methods_on, "ladders": ladders_on}
    return TABLE.sub(lambda found: f"{found[1]}{tables[found[2]](found[3])}\n{found[4]}", page)


def ladders_on(problem: str) -> str:
    """What early stopping saved, and how often it was tried."""
    replays = read_replays(RUNS / f"{problem}.stopping.csv")
    return f"\n{as_ladders(replays)}\n\n{len(replays['to the end'])} seeds.\n"


def methods_on(problem: str) -> str:
    """What was measured on a problem, and how often."""
    runs, evaluations = read_runs(RUNS / f"{problem}.csv")
    seeds = {len(some) for some in runs.values()}
    said = f"{evaluations} evaluations, {' to '.join(str(s) for s in sorted({min(seeds), max(seeds)}))} seeds."
    return f"\n{as_table(summarise(runs))}\n\n{said}\n"


if __name__ == "__main__":
    for path in (RUNS / f"{name}.csv" for name in PROBLEMS):
        if path.exists():
            path.with_suffix(".svg").write_text(draw_svg(read_runs(path)[0], path.stem), encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
