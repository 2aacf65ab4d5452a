"""The block in CONTRIBUTING.md works as it stands there: its lines make a kind that is searched, built and counted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hrnas.nets.cost import measure_cost
from hrnas.space.published import load_point

ROOT = Path(__file__).resolve().parent.parent

BUILD = """
import hrnas, torch
from hrnas.nets.cost import measure_cost
from hrnas.nets.pose_net import PoseNet
from hrnas.space.architecture import Architecture
from hrnas.space.search_space import load_space

space = load_space("mine")
tree = space.base
for stage in tree["stages"]:
    stage["row"] = {"kind": "depthwise", "kernel": 5}
architecture = Architecture.from_tree(tree)
assert space.contains(architecture)
heatmaps = PoseNet(architecture, 17)(torch.zeros(2, 3, 64, 64))
assert heatmaps.shape == (2, 17, 16, 16), heatmaps.shape
print(hrnas.__file__, measure_cost(architecture).params)
"""


@pytest.fixture(scope="module")
def with_the_block(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout to which somebody has done what CONTRIBUTING.md says."""
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("hrnas", "search_spaces", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = page.partition("## A block")[2].partition("\n## ")[0]
    options, module, line, card = re.findall(r"^```\w+\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    rows, new, tables = re.findall(r"\*\*.*?\*\*, in .*?`(hrnas/\S+\.py)`", section, flags=re.DOTALL)
    name = re.findall(r"^class (\w+)", options)[0]
    imported, _, entry = line.partition("\n\n")
    insert(copy / rows, "\nRow = Annotated[\n", before=f"{options}\n", after=f"    {name} |\n")
    assert not (copy / new).exists(), f"{new} is there: the example needs another"
    (copy / new).write_text(module, encoding="utf-8")
    insert(copy / tables, "from torch import nn\n", after=f"{imported}\n")
    insert(copy / tables, "ROWS: Table = {\n", after=entry)
    (copy / "search_spaces" / "mine.yaml").write_text(card, encoding="utf-8")
    return copy


def insert(file: Path, place: str, before: str = "", after: str = "") -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(place) == 1, f"{place!r} in {file.name}"
    file.write_text(text.replace(place, before + place + after), encoding="utf-8")


def run(folder: Path, *arguments: str) -> str:
    """What Python prints that finds hrnas in this folder."""
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_block_is_searched_built_and_counted(with_the_block: Path) -> None:
    file, params = run(with_the_block, "-c", BUILD).split()
    assert Path(file).is_relative_to(with_the_block)
    base = load_point("published/small_hrnet_w16").architecture
    expected = measure_cost(base).params
    for index, stage in enumerate(base.stages):
        for width in base.branches(index):
            residual = 2 * (9 * width**2 + 2 * width)
            depthwise = 25 * width + 2 * width + width**2 + 2 * width
            expected += stage.modules * stage.blocks * (depthwise - residual)
    assert int(params) == expected


@pytest.mark.slow
def test_the_contract_runs_over_it(with_the_block: Path) -> None:
    said = run(with_the_block, "-m", "pytest", "tests/test_contract.py", "-k", "depthwise", "-p", "no:cacheprovider")
    found = re.search(r"(\d+) passed", said)
    assert found and int(found[1]) >= 6, said
