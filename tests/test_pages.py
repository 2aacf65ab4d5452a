"""What the pages tell to type can be typed, and what they point to is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from workshop import write_cards

from hrnas.cli import WORDS, main, split_word, word_parser
from hrnas.nets.cost import measure_cost
from hrnas.shelf import list_cards
from hrnas.space.census import estimate_architectures
from hrnas.space.published import load_architecture
from hrnas.space.search_space import load_space

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "search_spaces/*.md", "trainers/*.md", "studies/*.md", "tests/**/*.md")
    for path in ROOT.glob(pattern)
)


def said_in_blocks(text: str) -> list[str]:
    """Every line `hrnas WORD ...` of a block: to be typed as it stands, with other values for what is in capitals."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("hrnas ")]


def said_in_sentences(text: str) -> list[str]:
    """Every `hrnas word ...` in a sentence: it may leave out what the sentence is not about."""
    plain = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(found.split()) for found in re.findall(r"`(hrnas [a-z][^`]*)`", plain)]


def test_the_pages_are_found():
    names = {path.relative_to(ROOT).as_posix() for path in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/cli.md", "studies/README.md"} <= names
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(said_in_blocks(readme)) >= 4 and said_in_sentences(readme)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_page_tells_to_type_can_be_typed(page: Path):
    text = page.read_text(encoding="utf-8")
    for command in said_in_blocks(text):
        plain = re.sub(r"\s+#\s.*", "", command)  # a comment; not the # of STUDY#KEY
        word, rest = split_word(shlex.split(re.sub(r"\bN\b", "1", plain.replace("HxW", "64x64")))[1:])
        assert word_parser(word).parse_known_args(rest)[1] == [], command
    for command in said_in_sentences(text):
        word, rest = split_word(command.split()[1:])
        assert word in WORDS, command
        options = {argument.name for argument in WORDS[word].arguments} | {"--help"}
        assert {part for part in rest if part.startswith("--")} <= options, command


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_page_points_to_is_there(page: Path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: there is no {target}"


@pytest.mark.parametrize("word", re.findall(r"`make ([a-z-]+)`", (ROOT / "README.md").read_text(encoding="utf-8")))
def test_the_readme_knows_the_words_of_make(word: str):
    assert re.search(rf"^{word}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_the_readmes_lines_of_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (lines,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    write_cards(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["search", "tiny", "--name", "quickstart", "--quiet"]) == 0
    names: dict[str, Any] = {}
    exec(compile(lines, "README.md", "exec"), names)
    assert names["point"].key == load_architecture("published/lite_hrnet_18").key
    assert names["study"].study().name == "quickstart"
    names["study"].close()


FIVE_PAPERS = ("le_hrnet", "sdhrnet", "lite_csw_hrnet", "hr_litenet", "greit_hrnet_18", "greit_hrnet_30")
README_TABLE = re.findall(
    r"^\| `(published/\w+)` \| ([\d,]+) \| ([\d.]+) M \| ([\d.]+) M \| ([\d.]+) [MG] \(`(\w+)`\) \|$",
    (ROOT / "README.md").read_text(encoding="utf-8"),
    flags=re.MULTILINE,
)


def test_the_readmes_costs_are_those_of_the_program():
    assert {row[0] for row in README_TABLE} >= {f"published/{name}" for name in FIVE_PAPERS}
    for name, params, macs, as_released, printed, scale in README_TABLE:
        cost = measure_cost(load_architecture(name))
        assert f"{cost.params:,}" == params, name
        assert (f"{cost.macs / 1e6:.1f}", f"{cost.macs_as_released / 1e6:.1f}") == (macs, as_released), name
        assert f"{getattr(cost, scale):.{len(printed.partition('.')[2])}f}" == printed, name


SPACES = re.findall(
    r"^\| `(\w+)` \| [^|]+ \| ([\d,.e+]+) \| ([\d,.e+]+) \|$",
    (ROOT / "search_spaces" / "README.md").read_text(encoding="utf-8"),
    flags=re.MULTILINE,
)


def test_the_shelf_tells_how_many_genomes_each_space_has():
    cards = [name for name in list_cards("search_spaces") if not name.startswith("published/")]
    assert sorted(name for name, _, _ in SPACES) == sorted(cards)
    for name, genomes, _ in SPACES:
        size = load_space(name).size
        assert genomes == (f"{size:.2e}" if size >= 10**9 else f"{size:,}"), name


@pytest.mark.slow
def test_the_shelf_tells_about_how_many_networks_each_space_has():
    for name, _, networks in SPACES:
        about = estimate_architectures(load_space(name), draws=40)
        assert networks == (f"{about:.1e}" if about >= 10**9 else f"{about:,}"), name
