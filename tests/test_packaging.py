"""hrnas works as a wheel far from its checkout, as an editable install, and from a bare checkout."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import hrnas
from hrnas.doctor import EXTRAS, REQUIRED

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command far from the checkout's influence and return what it prints."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HRNAS", "PIP_"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def read_table(name: str) -> str:
    """A table of pyproject.toml as text, from its header to the next one."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(rf"^\[{re.escape(name)}\]\n(.*?)(?=^\[)", text, flags=re.MULTILINE | re.DOTALL)
    assert found, name
    return found[1]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout's files and nothing else, so that a build in it leaves no trace here."""
    folder = tmp_path_factory.mktemp("source") / "hrnas"
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source, cwd=folder)
    (built,) = folder.glob("hrnas-*.whl")
    return built


def pip(python: Path | str, *arguments: Path | str, cwd: Path) -> None:
    run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments, cwd=cwd)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A new virtual environment's Python that sees the packages of this one, but no hrnas."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    here = Path(sysconfig.get_path("purelib"))
    for path in here.iterdir():  # links, not a path: an editable hrnas here must not shine through
        if "hrnas" not in path.name.lower() and path.suffix != ".pth" and not path.name.startswith("__"):
            (packages / path.name).symlink_to(path)
    return python


def check_it_works(python: Path, tmp_path: Path) -> None:
    """The words that need cards, the network and a report, said in an empty folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    assert run(python, "-m", "hrnas", "version", cwd=elsewhere).strip() == hrnas.__version__
    listed = run(python, "-m", "hrnas", "cards", cwd=elsewhere)
    for shelf in ("search_spaces/", "trainers/", "studies/", "  quickstart", "  published/lite_hrnet_18"):
        assert shelf in listed
    profile = run(python, "-m", "hrnas", "profile", "published/lite_hrnet_18", "--json", cwd=elsewhere)
    assert '"params": 1130769' in profile
    program = "import hrnas; print(hrnas.load('published/lite_hrnet_18').key, hrnas.build('lite_hrnet_18', 3).training)"
    assert run(python, "-c", program, cwd=elsewhere).split()[1] == "True"


def test_the_wheel_holds_the_shelves_and_no_other_package(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    for shelf in ("search_spaces", "trainers", "studies"):
        here = {path.relative_to(ROOT).as_posix() for path in (ROOT / shelf).rglob("*") if path.is_file()}
        assert {name.removeprefix("hrnas/_shelves/") for name in names if f"_shelves/{shelf}/" in name} == here
    assert "hrnas/py.typed" in names
    assert {name.split("/")[0] for name in names} == {"hrnas", f"hrnas-{hrnas.__version__}.dist-info"}


@pytest.mark.slow
def test_the_source_archive_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path):
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=source)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, unpacked, cwd=tmp_path)
    (again,) = tmp_path.glob("*.whl")
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


@pytest.mark.slow
def test_the_wheel_works_far_from_its_checkout(wheel: Path, environment: Path, tmp_path: Path):
    target = run(environment, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    pip(sys.executable, "install", "--no-deps", "--target", target, wheel, cwd=tmp_path)
    check_it_works(environment, tmp_path)
    where = run(environment, "-c", "import hrnas; print(hrnas.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(target)


@pytest.mark.slow
def test_an_editable_install_works(source: Path, environment: Path, tmp_path: Path):
    pip(
        sys.executable,
        "--python",
        environment,
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--editable",
        source,
        cwd=tmp_path,
    )
    check_it_works(environment, tmp_path)
    program = "from hrnas.shelf import find_card; print(find_card('search_spaces', 'published/lite_hrnet_18'))"
    found = run(environment, "-c", program, cwd=tmp_path).strip()
    assert Path(found).is_relative_to(source), "an editable install reads the cards that its user edits"


@pytest.mark.slow
def test_a_bare_checkout_works(source: Path, environment: Path, tmp_path: Path):
    listed = run(environment, "-m", "hrnas", "cards", cwd=source)
    assert "  published/lite_hrnet_18" in listed
    run(environment, "-m", "hrnas", "cards", cwd=tmp_path, PYTHONPATH=str(source))


def test_every_word_of_make_is_listed():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    assert phony and set(phony[1].split()) == {"help", "setup", "demo", "test", "test-all", "check", "golden", "bench"}
    listed = run("make", "--no-print-directory", "help", cwd=ROOT, MAKEFLAGS="")
    assert {line.split()[1] for line in listed.splitlines()} == set(phony[1].split())


def test_the_doctor_knows_the_same_packages_as_the_build():
    declared = re.search(r"^dependencies = \[\n(.*?)^\]", read_table("project"), flags=re.MULTILINE | re.DOTALL)
    assert declared
    assert set(re.findall(r'^    "([a-z0-9-]+)', declared[1], flags=re.MULTILINE)) == set(REQUIRED)
    extras = re.findall(r"^(\w+) = ", read_table("project.optional-dependencies"), flags=re.MULTILINE)
    assert set(extras) == set(EXTRAS)


def test_every_required_package_is_held_to_a_version():
    held = set(re.findall(r"^([A-Za-z0-9-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(REQUIRED) <= held


def test_every_import_is_of_a_declared_package():
    """What hrnas imports is its own, Python's, or required; nothing is there only because another package brings it."""
    of_nni = {"nni", "psutil"}  # the extra, of which the modules are imported when a card or an option asks for them
    known = {"hrnas", *sys.stdlib_module_names, *REQUIRED.values(), *of_nni}
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {module}"
        for path in sorted((ROOT / "hrnas").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for module in imported_by(node)
        if module not in known
    ]
    assert not wrong, "\n".join(wrong)


def imported_by(node: ast.AST) -> set[str]:
    """The top names of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {node.module.split(".")[0]} if isinstance(node, ast.ImportFrom) and node.module else set()
