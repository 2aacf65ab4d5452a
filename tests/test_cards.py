"""Every card on every shelf loads, explains itself, and finds the cards that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hrnas.cards.study import load_study
from hrnas.cards.trainer import load_recipe
from hrnas.reading import UserError, read_yaml
from hrnas.shelf import SHELVES, find_card, list_cards
from hrnas.showing import explain, find_on_shelves, kind_of
from hrnas.space.published import load_architecture
from hrnas.space.search_space import load_space

ROOT = Path(__file__).resolve().parent.parent
KINDS = {"search_spaces": {"search space", "published point"}, "trainers": {"trainer"}, "studies": {"study"}}
CARDS = [(shelf, name) for shelf in SHELVES for name in list_cards(shelf)]


@pytest.mark.parametrize("shelf", SHELVES)
def test_no_card_is_overlooked(shelf: str):
    files = [path for path in (ROOT / shelf).rglob("*") if path.is_file() and path.name != "README.md"]
    assert files and sorted(list_cards(shelf).values()) == sorted(files)


def test_the_page_of_the_trainers_lists_every_card():
    page = (ROOT / "trainers" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(\w+)`(?=[^|\n]*\|)", page)) == set(list_cards("trainers"))


@pytest.mark.parametrize(("shelf", "name"), CARDS, ids=["/".join(card) for card in CARDS])
def test_every_card_loads_and_explains_itself(shelf: str, name: str):
    path = find_card(shelf, name)
    assert kind_of(path) in KINDS[shelf]
    assert find_on_shelves(f"{shelf}/{name}") == (shelf, name)
    document = explain(f"{shelf}/{name}")
    assert document["kind"] == kind_of(path)
    assert str(read_yaml(path).get("about", "")).strip(), "a card says in `about` what it is for"


@pytest.mark.parametrize("name", list_cards("studies"))
def test_every_study_finds_its_cards(name: str):
    card = load_study(name)
    space, recipe = load_space(card.space), load_recipe(card.trainer)
    assert space.size >= card.trials
    assert recipe.with_changes(input=card.input).input


@pytest.mark.parametrize("name", [name for name in list_cards("search_spaces") if not name.startswith("published/")])
def test_every_space_card_says_what_it_must_contain(name: str):
    space = load_space(name)  # raises when a point of `must_contain` lies outside
    ends = ([0 for _ in space.genes], [gene.size - 1 for gene in space.genes])
    assert all(space.contains(space.decode(tuple(end))) for end in ends)


@pytest.mark.parametrize("said", ["quickstart", "quickstart.yaml", "studies/quickstart", "studies/quickstart.yaml"])
def test_a_card_has_one_name_and_may_be_said_in_full(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert find_card("studies", said) == ROOT / "studies" / "quickstart.yaml"


def test_a_card_of_the_user_comes_before_the_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    shipped = find_card("search_spaces", "published/lite_hrnet_18")
    mine = tmp_path / "search_spaces" / "published" / "lite_hrnet_18.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text(shipped.read_text(encoding="utf-8").replace("blocks: 2", "blocks: 3"), encoding="utf-8")
    assert find_card("search_spaces", "published/lite_hrnet_18") == mine
    assert load_architecture("published/lite_hrnet_18").key != load_architecture(str(shipped)).key


def test_a_name_on_two_shelves_has_to_be_said_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for shelf in ("trainers", "studies"):
        (tmp_path / shelf).mkdir()
        (tmp_path / shelf / "same.yaml").write_text("about: the same\n", encoding="utf-8")
    with pytest.raises(UserError, match="trainers/same or studies/same"):
        find_on_shelves("same")
    assert find_on_shelves("studies/same.yaml") == ("studies", "same")
