"""Write every finished evaluation of a study as a line of CSV.

python benchmarks/study_rows.py runs/joint_coco > benchmarks/results/joint_coco.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from hrnas.ledger import Ledger

SCORES = ("score", "oks", "oks_low", "oks_high", "ap")
COLUMNS = ("trial", "title", "origin", "key", "params", "macs", "fidelity", "rung", "seed", *SCORES, "seconds", "cpu")


def main() -> None:
    folder = Path(sys.argv[1])
    ledger = Ledger.open(folder / "ledger.sqlite", folder.name)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for trial in ledger.trials():
        for one in trial.evaluations:
            if one.state != "done":
                continue
            who = one.identity
            scores = [f"{one.scores[name]:.4f}" if name in one.scores else "" for name in SCORES]
            spent = ["" if seconds is None else f"{seconds:.0f}" for seconds in (one.seconds, one.cpu_seconds)]
            about = (trial.number, trial.title, trial.origin, trial.key, trial.costs["params"], trial.costs["macs"])
            writer.writerow((*about, who.fidelity, who.rung + 1, who.seed, *scores, *spent))
    ledger.close()


if __name__ == "__main__":
    main()
