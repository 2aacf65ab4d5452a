"""A second opinion from 2,507 high-resolution networks whose params and operations somebody else counted.

NAS-Bench-MR: Ding et al., Learning Versatile Neural Architectures by Propagating Network Codes, ICLR 2022,
arXiv 2103.13253; its table and the public code that says how a row of it is built.

No network of that space is an `Architecture`, whatever its row block; five things differ, in all 2,507:
- a module is a fusion and then its blocks, and it has no transitions: a fusion changes the widths and adds the branch;
- a fusion hears the neighbouring branches only, sends a branch's own features through a 3x3 convolution, and has a ReLU
  on every path;
- every stage has widths of its own;
- every branch of a stage has its own number of blocks; stage 1 is made of residual blocks;
- the head joins all branches at the coarsest resolution and tells 50 classes of pictures.

What both have is the parts: HRNet's residual block, convolution and norm, 1x1 and nearest upsampling, and a way to
count them. Here our parts stand together in that benchmark's way, and our counter has to find every digit of its table.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hrnas.nets.blocks.hrnet import Residual
from hrnas.nets.cost import _count_module
from hrnas.nets.layers import ConvNorm

CLASSES, SIDE = 50, 128  # of the classification that the table counts: neither is printed, both follow from every row

Row = dict[str, str]


class Fusion(nn.Module):
    """Features of widths `before` -> features of widths `after`, at most one branch more, made from the finer ones."""

    def __init__(self, before: list[int], after: list[int]) -> None:
        super().__init__()
        self.paths = nn.ModuleList(
            nn.ModuleDict(
                {f"{source}": _path(before[source], after[target], source - target) for source in _near(target, before)}
            )
            for target in range(min(len(before), len(after)))
        )
        grows = len(after) > len(before)
        self.new = ConvNorm(after[-2], after[-1], 3, stride=2, act=True) if grows else None
        self.act = nn.ReLU()

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        fused = []
        for paths in self.paths:
            near = [path(features[int(source)]) for source, path in paths.items()]
            fused.append(self.act(torch.stack(near).sum(0)))
        return fused if self.new is None else [*fused, self.new(fused[-1])]


class Network(nn.Module):
    """One row of the table: a picture -> 50 scores."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        first, second, last = (int(row[name]) for name in ("stem1_ch", "stem2_ch", "last_ch"))
        self.stem = nn.Sequential(ConvNorm(3, first, 3, stride=2, act=True), ConvNorm(first, second, 3, 2, act=True))
        self.fusions, self.blocks = nn.ModuleList(), nn.ModuleList()
        before = [second]
        for stage in (1, 2, 3, 4):
            widths = [int(row[f"s{stage}_ch{branch}"]) for branch in range(1, stage + 1)]
            depths = [int(row[f"s{stage}_convs{branch}"]) for branch in range(1, stage + 1)]
            for _ in range(int(row[f"s{stage}_blocks"])):
                self.fusions.append(Fusion(before, widths))
                branches = (
                    nn.Sequential(*(Residual(width) for _ in range(depth)))
                    for width, depth in zip(widths, depths, strict=True)
                )
                self.blocks.append(nn.ModuleList(branches))
                before = widths
        self.join = ConvNorm(sum(before), last, act=True)
        self.classify = nn.Conv2d(last, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        features = [self.stem(image)]
        for fusion, blocks in zip(self.fusions, self.blocks, strict=True):
            features = [block(x) for block, x in zip(blocks, fusion(features), strict=True)]
        size = features[-1].shape[-2:]
        joined = self.join(torch.cat([functional.interpolate(x, size, mode="bilinear") for x in features], dim=1))
        return self.classify(joined.mean((2, 3), keepdim=True))


def _near(target: int, widths: list[int]) -> range:
    return range(max(target - 1, 0), min(target + 2, len(widths)))


def _path(inputs: int, outputs: int, coarser: int) -> nn.Module:
    if coarser > 0:
        return nn.Sequential(ConvNorm(inputs, outputs, act=True), nn.Upsample(scale_factor=2))
    return ConvNorm(inputs, outputs, 3, stride=2 if coarser else 1, act=True)


def count(network: Network) -> tuple[int, int]:
    """Parameters, and operations as the table has them: thop's, which are mmcv's without ReLU and upsampling."""
    uncounted = 0

    def see(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal uncounted
        uncounted += out.numel()

    for layer in network.modules():
        if isinstance(layer, (nn.ReLU, nn.Upsample)):
            layer.register_forward_hook(see)
    tally = _count_module(network, set(), torch.empty(1, 3, SIDE, SIDE, device="meta"))
    return tally.params, tally.all_ops - uncounted


@pytest.mark.data
def test_our_parts_put_together_as_nas_bench_mr_does_cost_what_its_table_says(data_root: Path) -> None:
    path = data_root / "nas_bench_mr" / "nas_bench_mr.csv"
    if not path.exists():
        pytest.skip(f"no table {path}")
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 2507
    for row in rows[::100]:
        with torch.device("meta"):
            network = Network(row)
        printed = (round(float(row["params_m"]) * 1e6), round(float(row["flops_g"]) * 1e9))
        assert count(network) == printed, row
