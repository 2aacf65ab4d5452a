"""2,507 high-resolution networks that others trained: NAS-Bench-MR's table, its space, and what its networks cost.

Ding et al., Learning Versatile Neural Architectures by Propagating Network Codes, ICLR 2022, arXiv 2103.13253. Its
networks are HRNet-shaped but no `Architecture` of ours (tests/test_nas_bench_mr.py names the five differences), so that
a network here is its 27 numbers. The table is not shipped; docs/search.md says how to get it.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from hrnas.reading import UserError
from hrnas.space.genome import Gene, Genome

__all__ = ["GENES", "Surrogate", "Table", "count", "numbers_of", "read_table", "table_path"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FILE = Path("nas_bench_mr") / "nas_bench_mr.csv"
SHA256 = "8b3ef6d6cd8117a7db655d07cb38378b09cae5e1f268d1c8bdce653de65996fe"
SCORE = "seg_mIoU"  # Cityscapes, in percent
CLASSES, SIDE = 50, 128  # of the classification of which the table counts the costs

_WIDTHS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128)
_STEM_WIDTHS = (8, 16, 24, 32, 48, 64, 96, 128)
_TIMES = (1, 2, 3, 4)


def _names() -> list[str]:
    names = ["stem1_ch", "stem2_ch"]
    for stage in (1, 2, 3, 4):
        branches = range(1, stage + 1)
        names.append(f"s{stage}_blocks")
        names += [f"s{stage}_convs{branch}" for branch in branches] + [f"s{stage}_ch{branch}" for branch in branches]
    return [*names, "last_ch"]


def _values(name: str) -> tuple[int, ...]:
    if name.startswith("stem"):
        return _STEM_WIDTHS
    return _WIDTHS if "ch" in name else _TIMES


GENES = tuple(Gene(name, _values(name), ordered=True) for name in _names())


@dataclass(frozen=True)
class Table:
    """The networks and what was measured of them.

    Attributes:
        numbers: (networks, 27), as `GENES` names them.
        scores: (networks,), segmentation mIoU in 0..1.
        params, operations: (networks,), as printed.
    """

    numbers: Ints
    scores: Floats
    params: Ints
    operations: Ints

    @cached_property
    def genomes(self) -> dict[Genome, int]:
        """The row of each genome; four rows have a width between two of the space's steps, and no genome."""
        found = {}
        for row, numbers in enumerate(self.numbers):
            if all(number in gene.values for number, gene in zip(numbers, GENES, strict=True)):
                found[tuple(gene.values.index(n) for n, gene in zip(numbers, GENES, strict=True))] = row
        return found


def table_path(root: Path | str | None = None) -> Path:
    """Where the table lies: below `root`, else below HRNAS_DATA.

    Raises:
        UserError: it lies in neither.
    """
    folder = root or os.environ.get("HRNAS_DATA")
    path = Path(folder) / FILE if folder else FILE
    if not folder or not path.is_file():
        where = f"no file {path}" if folder else f"HRNAS_DATA is not set, and below it {FILE} was expected"
        raise UserError(
            f"the table of NAS-Bench-MR is not there: {where}; its authors give it to others themselves: "
            "docs/search.md says how to make the file from what they publish. `--problem small_joint` needs none"
        )
    return path


def read_table(path: Path) -> Table:
    """Read the table.

    Raises:
        UserError: the file is not the one that is known.
    """
    raw = path.read_bytes()
    digest = hashlib.sha256(raw).hexdigest()
    if digest != SHA256:
        raise UserError(f"{path}: this is not the known table: SHA-256 {digest}, expected {SHA256}: get it again")
    rows = list(csv.DictReader(raw.decode().splitlines()))
    return Table(
        numbers=np.array([[int(row[gene.path]) for gene in GENES] for row in rows]),
        scores=np.array([float(row[SCORE]) / 100 for row in rows]),
        params=np.array([round(float(row["params_m"]) * 1e6) for row in rows]),
        operations=np.array([round(float(row["flops_g"]) * 1e9) for row in rows]),
    )


def numbers_of(genomes: Sequence[Genome]) -> Ints:
    """(genomes, 27): widths, blocks and modules."""
    chosen = np.asarray(genomes, dtype=np.int64)
    return np.stack([np.asarray(gene.values)[chosen[:, index]] for index, gene in enumerate(GENES)], axis=1)


# ---------------------------------------------------------------------------------------------------------------------
# costs


@overload
def count(numbers: Ints) -> tuple[Ints, Ints]: ...
@overload
def count(numbers: Sequence[int]) -> tuple[int, int]: ...
def count(numbers: Any) -> Any:
    """Parameters and operations of networks, every digit as the table prints them.

    Operations are multiply-accumulates of convolutions, 2 for each number that is normalised, and the bias of the last
    layer: thop's, at 128x128 with the head that tells 50 classes.

    Args:
        numbers: (networks, 27), or the 27 numbers of one network, whose costs are plain numbers then.
    """
    of = dict(
        zip([gene.path for gene in GENES], numbers.T if isinstance(numbers, np.ndarray) else numbers, strict=True)
    )
    tally = _Tally()
    tally.conv(3, of["stem1_ch"], 3, SIDE // 2)
    tally.conv(of["stem1_ch"], of["stem2_ch"], 3, SIDE // 4)
    before = [of["stem2_ch"]]
    for stage in (1, 2, 3, 4):
        widths = [of[f"s{stage}_ch{branch}"] for branch in range(1, stage + 1)]
        modules = of[f"s{stage}_blocks"]
        _count_fusion(tally, before, widths, 1)
        _count_fusion(tally, widths, widths, modules - 1)
        for branch, width in enumerate(widths):
            tally.conv(width, width, 3, _side(branch), 2 * modules * of[f"s{stage}_convs{branch + 1}"])
        before = widths
    tally.conv(sum(before), of["last_ch"], 1, _side(3))
    tally.params = tally.params + (of["last_ch"] + 1) * CLASSES
    tally.operations = tally.operations + (of["last_ch"] + 1) * CLASSES
    return tally.params, tally.operations


def _side(branch: int) -> int:
    return SIDE // 4 >> branch


def _count_fusion(tally: _Tally, before: Sequence[Any], after: Sequence[Any], times: Any) -> None:
    """Each branch hears itself and its neighbours; one that is new is made from the finest fused one above it."""
    for target, outputs in enumerate(after[: len(before)]):
        for source in range(max(target - 1, 0), min(target + 2, len(before))):
            coarser = source > target
            side = _side(source if coarser else target)  # 1x1 before it grows, 3x3 that may shrink
            tally.conv(before[source], outputs, 1 if coarser else 3, side, times)
    if len(after) > len(before):
        tally.conv(after[-2], after[-1], 3, _side(len(after) - 1), times)


class _Tally:
    """Costs so far: numbers of one network, or arrays of many."""

    def __init__(self) -> None:
        self.params: Any = 0
        self.operations: Any = 0

    def conv(self, inputs: Any, outputs: Any, kernel: int, side: int, times: Any = 1) -> None:
        """A convolution and a norm, which make a map of this side."""
        weights = inputs * outputs * kernel**2
        self.params = self.params + times * (weights + 2 * outputs)
        self.operations = self.operations + times * (weights + 2 * outputs) * side**2


# ---------------------------------------------------------------------------------------------------------------------
# scores


class Surrogate:
    """mIoU of any network of the space, learnt from the table; costs need no guess.

    Boosted trees on the 27 numbers and the logarithms of both costs; nothing in them is drawn by chance.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._trees = _boosted_trees().fit(_features(table.numbers), table.scores)

    def scores(self, numbers: Ints) -> Floats:
        """Predicted mIoU, (networks,), in 0..1."""
        return np.asarray(self._trees.predict(_features(numbers)))

    @cached_property
    def tau(self) -> float:
        """Kendall's tau between the table and what four fifths of it say of the rest."""
        from sklearn.model_selection import KFold, cross_val_predict

        from hrnas.rank_statistics import kendall

        folds = KFold(5, shuffle=True, random_state=0)
        guessed = cross_val_predict(_boosted_trees(), _features(self._table.numbers), self._table.scores, cv=folds)
        return float(kendall(guessed, self._table.scores, np.ones((1, len(guessed))))[0])


def _boosted_trees():  # type: ignore[no-untyped-def]
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(early_stopping=False, random_state=0)


def _features(numbers: Ints) -> Floats:
    return np.column_stack([numbers, *(np.log10(cost) for cost in count(numbers))])
