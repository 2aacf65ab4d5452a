"""Make nas_bench_mr.csv, which `hrnas bench` reads, from what the authors of NAS-Bench-MR publish.

    git clone https://github.com/dingmyu/NCP
    python benchmarks/nas_bench_mr.py NCP DIR        # DIR is what HRNAS_DATA will be

The numbers are theirs (BSD 2-Clause; they ask commercial users to contact them), and not part of this project. Their
files are pickles of lists and numbers; whatever else stood in one would be refused, and the table has to be the known
one, byte for byte.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

from hrnas.bench.nas_bench_mr import FILE, GENES, SHA256
from hrnas.reading import write_atomically

MEASURES = {
    "cls-50-1000": ("top1", "top5"),
    "cls-50-100": ("top1", "top5"),
    "cls-10-1000": ("top1", "top5"),
    "cls-10c": ("top1", "top5"),
    "seg": ("mIoU", "mAcc", "aAcc"),
    "seg-4x": ("mIoU", "mAcc", "aAcc"),
    "video": ("top1", "top5"),
    "video-p": ("top1", "top5"),
}


class _Numbers(pickle.Unpickler):
    """Reads lists, dictionaries, texts and numbers, and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        raise SystemExit(f"this is no file of numbers: it wants {module}.{name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ncp", type=Path, help="a clone of the authors' repository")
    parser.add_argument("out", type=Path, help="the folder of data, into which nas_bench_mr/ goes")
    said = parser.parse_args()
    text = make_table(said.ncp / "data")
    digest = hashlib.sha256(text.encode()).hexdigest()
    if digest != SHA256:
        raise SystemExit(f"this is not the known table: SHA-256 {digest}, expected {SHA256}")
    write_atomically(said.out / FILE, text)
    print(said.out / FILE)


def make_table(folder: Path) -> str:
    """The eight files as one table: a network is its 27 numbers."""
    read = {name: _Numbers((folder / name / "trainval.pkl").open("rb")).load() for name in MEASURES}
    by_code = {name: {tuple(row["embedding"]): row for row in rows} for name, rows in read.items()}
    columns = [f"{name.replace('-', '_')}_{measure}" for name, some in MEASURES.items() for measure in some]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*(gene.path for gene in GENES), "flops_g", "params_m", *columns])
    for code, row in by_code["cls-50-1000"].items():
        measured = [by_code[name][code][measure] for name, some in MEASURES.items() for measure in some]
        writer.writerow([*code, row["flops"], row["params"], *measured])
    return text.getvalue()


if __name__ == "__main__":
    main()
