"""What the pages tell to type can be typed, and what they point to is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from hrnas.cli import WORDS, word_parser

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
        _, word, *rest = shlex.split(re.sub(r"\bN\b", "1", plain.replace("HxW", "64x64")))
        assert word_parser(word).parse_known_args(rest)[1] == [], command
    for command in said_in_sentences(text):
        _, word, *rest = command.split()
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
