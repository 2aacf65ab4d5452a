"""What each way to train the supernet does to its ranking: the table of docs/supernet.md, from recorded numbers alone.

    python benchmarks/supernet_ranks.py [--table CSV --ways CSV] [--by pck]

Truth is the recorded table's longest training with seed 0. Its other seed is the ceiling; parameters, MACs and shorter
trainings (of the other seed, which shares no luck with the truth) stand beside. Kendall's tau with bootstrap intervals
over architectures; the differences are paired, on the same architectures.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from hrnas.rank_statistics import Estimate, difference, estimate, kendall, ratio

HERE = Path(__file__).parent
TABLE = HERE.parent / "hrnas" / "bench" / "tables" / "small_joint.csv"
WAYS = HERE / "results" / "supernet_ways.csv"

Scores = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--ways", type=Path, default=WAYS)
    parser.add_argument("--by", default="score", help="score (mean OKS), ap or pck")
    said = parser.parse_args()
    rows = _read(said.table)
    last = max(int(row["epoch"]) for row in rows)

    def trained(epoch: int, seed: int) -> Scores:
        chosen = (row for row in rows if (int(row["epoch"]), int(row["seed"])) == (epoch, seed))
        return {row["key"]: float(row[said.by]) for row in chosen}

    truth, again = trained(last, 0), trained(last, 1)
    larger = {name: {row["key"]: float(row[name]) for row in rows} for name in ("params", "macs")}
    proxies = {f"{epochs} epochs, seed 1": trained(epochs, 1) for epochs in (1, last // 3)}
    asked: dict[str, Scores] = {}
    for row in _read(said.ways):
        asked.setdefault(f"inherited: {row['way']}, {row['crops']} crops", {})[row["key"]] = float(row[said.by])
    print(f"ceiling, seed 1 of the truth: {_tau(again, truth)}\n")
    print("| measure | n | tau | of the ceiling | above params | above macs |\n|---|---|---|---|---|---|")
    for name, scores in {**larger, **proxies, **asked}.items():
        keys = [key for key in truth if key in scores]
        both = [key for key in keys if key in again]
        share = ratio(kendall, _take(scores, both), _take(again, both), _take(truth, both))
        above = [
            _show(difference(kendall, _take(scores, keys), _take(other, keys), _take(truth, keys)))
            for other in larger.values()
        ]
        print(f"| {name} | {len(keys)} | {_tau(scores, truth)} | {_show(share)} | {' | '.join(above)} |")


def _tau(scores: Scores, truth: Scores) -> str:
    keys = [key for key in truth if key in scores]
    return _show(estimate(kendall, _take(scores, keys), _take(truth, keys)))


def _take(scores: Scores, keys: list[str]) -> list[float]:
    return [scores[key] for key in keys]


def _show(found: Estimate) -> str:
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
