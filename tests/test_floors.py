"""Imports only go down: the picture in docs/architecture.md is the rule, and these tests hold the code to it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "hrnas"


class Room(NamedTuple):
    floor: int
    side: int  # rooms of one floor on different sides of a `|` do not know each other
    only_floor_1: bool


class Import(NamedTuple):
    line: int
    module: str  # "hrnas.space.kinds"
    at_top: bool  # of the file, so that it runs when the file is imported


def read_floors(page: str) -> dict[str, Room]:
    """Read the rooms from lines such as `floor 2   nets | pose     words`."""
    rooms = {}
    for floor, names in re.findall(r"^floor (\d)   (\S+(?: \S+)*)", page, flags=re.MULTILINE):
        for side, part in enumerate(names.split("|")):
            for name in part.split():
                rooms[name.rstrip("*")] = Room(int(floor), side, name.endswith("*"))
    return rooms


FLOORS = read_floors((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_shelves" not in path.parts)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of(tree: ast.Module, module: str, modules: set[str]) -> Iterator[Import]:
    """Every import of ours in a file, lazy ones and those for types too; the version is free to all."""
    top = set(ast.walk(ast.Module([node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))], [])))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "hrnas":
                    yield Import(node.lineno, alias.name, node in top)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: write imports in full"
            if node.module and node.module.split(".")[0] == "hrnas":
                for alias in node.names:
                    if (node.module, alias.name) == ("hrnas", "__version__"):
                        continue
                    whole = f"{node.module}.{alias.name}"
                    yield Import(node.lineno, whole if whole in modules else node.module, node in top)


def complaint(room: str, target: str) -> str | None:
    """Why a file of `room` must not import from the room `target`, or None."""
    if room == target:
        return None
    here, there = FLOORS[room], FLOORS[target]
    if there.floor > here.floor:
        return f"{room} (floor {here.floor}) must not know {target} (floor {there.floor})"
    if there.floor == here.floor and there.side != here.side:
        return f"{room} and {target} must not know each other"
    if here.only_floor_1 and there.floor > 1:
        return f"{room} reads nothing above floor 1, and {target} is on floor {there.floor}"
    return None


def test_the_picture_has_six_floors_and_every_file_a_room():
    assert {room.floor for room in FLOORS.values()} == {1, 2, 3, 4, 5, 6}
    homeless = [str(path.relative_to(ROOT)) for path in FILES if room_of(module_name(path)) not in FLOORS]
    # hrnas/__init__.py is the room __init__: the Python face, which stands beside the command line
    assert not homeless, f"not in the picture of docs/architecture.md: {homeless}"


def test_imports_only_go_down():
    modules = {module_name(path) for path in FILES}
    wrong = []
    for path in FILES:
        module = module_name(path)
        for line, imported, _ in imports_of(ast.parse(path.read_text(encoding="utf-8")), module, modules):
            reason = complaint(room_of(module), room_of(imported))
            if reason:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: imports {imported}: {reason}")
    assert not wrong, "\n".join(wrong)


def test_there_is_no_circle_of_imports():
    modules = {module_name(path) for path in FILES}
    graph = {
        module_name(path): {
            found.module
            for found in imports_of(ast.parse(path.read_text(encoding="utf-8")), module_name(path), modules)
            if found.at_top
        }
        for path in FILES
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize(
    ("room", "target", "allowed"),
    [
        ("search", "training", True),
        ("training", "search", False),
        ("nets", "pose", False),
        ("report", "ledger", True),
        ("report", "nets", False),
        ("ledger", "report", False),
        ("cli", "doctor", True),
    ],
)
def test_the_rule_itself_sees_what_it_should(room: str, target: str, allowed: bool):
    assert (complaint(room, target) is None) == allowed


def light_modules() -> list[str]:
    return [m for m in map(module_name, FILES) if FLOORS[room_of(m)].floor == 1 or room_of(m) == "report"]


def test_floor_1_and_the_report_are_light():
    """Imported one after the other in one process, floor 1 first: nothing heavy may have come along."""
    first = [m for m in light_modules() if room_of(m) != "report"]
    then = [m for m in light_modules() if room_of(m) == "report"]
    program = "\n".join(
        [
            "import importlib, sys",
            f"for name in {first!r}: importlib.import_module(name)",
            "print('floor 1:', *sorted({'torch', 'optuna', 'plotly', 'cv2'} & set(sys.modules)))",
            f"for name in {then!r}: importlib.import_module(name)",
            "print('report:', *sorted({'torch', 'optuna'} & set(sys.modules)))",
        ]
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "floor 1:\nreport:\n"


def test_the_front_door_is_light():
    heavy = {"torch", "optuna", "plotly", "numpy", "pandas"}
    program = f"import hrnas, hrnas.cli, sys; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "\n"
