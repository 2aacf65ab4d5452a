"""Explain a card: what it says, and what follows from it."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hrnas.cards.study import StudyCard
from hrnas.cards.trainer import Recipe, load_recipe
from hrnas.names import find_architecture
from hrnas.progress import expected_epochs
from hrnas.reading import UserError, format_size, read_yaml, validate
from hrnas.shelf import SHELVES, find_card, list_cards
from hrnas.space.architecture import Architecture
from hrnas.space.genome import Genome
from hrnas.space.published import load_architecture, load_point
from hrnas.space.search_space import SearchSpace, load_space

if TYPE_CHECKING:
    from hrnas.nets.cost import Cost

Kind = Literal["search space", "published point", "architecture", "trainer", "study"]
PROFILE_INPUT = (256, 192)  # at which networks are counted, as most papers do; a study's at its own input


def find_on_shelves(name: str) -> tuple[str, str]:
    """The shelf and the name of a card: `studies/quickstart`, or `quickstart` where only one shelf has it.

    Raises:
        UserError: no shelf has such a card, or several do.
    """
    name = name.removesuffix(".yaml").removesuffix(".yml")
    shelf, slash, rest = name.partition("/")
    if slash and shelf in SHELVES:
        find_card(shelf, rest)
        return shelf, rest
    shelves = {shelf: list_cards(shelf) for shelf in SHELVES}
    places = [(shelf, found) for shelf in SHELVES for found in (name, f"published/{name}") if found in shelves[shelf]]
    if len(places) == 1:
        return places[0]
    if places:
        raise UserError(f"'{name}' stands on several shelves; say {' or '.join('/'.join(place) for place in places)}")
    everything = [f"{shelf}/{found}" for shelf in SHELVES for found in shelves[shelf]]
    near = difflib.get_close_matches(name, everything, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "`hrnas cards` lists them"
    raise UserError(f"no card '{name}' on the shelves; {hint}")


def kind_of(path: Path) -> Kind:
    """What sort of card a file is, by the keys that only this sort has."""
    keys = set(read_yaml(path))
    if "choices" in keys:
        return "search space"
    if "published" in keys and "architecture" in keys:
        return "published point"
    if keys & {"architecture", "stages"}:
        return "architecture"
    return "study" if keys & {"ladder", "trials", "space"} else "trainer"


def explain(name: str, runs: Path | str | None = None) -> dict[str, Any]:
    """Everything that `hrnas show` knows of a card, or of an architecture named STUDY#KEY, as one JSON-able document.

    Raises:
        UserError: there is no such card or architecture, or mistakes in it (all at once).
    """
    if "#" in name and not Path(name).is_file():
        return {"card": name, "kind": "architecture"} | explain_architecture(find_architecture(name, runs))
    path = Path(name) if Path(name).is_file() else find_card(*find_on_shelves(name))
    kind = kind_of(path)
    document: dict[str, Any] = {"card": str(path), "kind": kind}
    if kind == "search space":
        return document | explain_space(load_space(str(path)))
    if kind == "published point":
        point = load_point(str(path))
        beside = {
            "about": point.about,
            "published": point.model_dump(mode="json")["published"],
            "open_questions": list(point.open_questions),
        }
        return document | explain_architecture(point.architecture) | beside
    if kind == "architecture":
        return document | explain_architecture(load_architecture(str(path)))
    if kind == "trainer":
        return document | explain_recipe(load_recipe(str(path)))
    return document | explain_study(validate(StudyCard, {"name": path.stem, **read_yaml(path)}, str(path)))


def explain_space(space: SearchSpace, input: tuple[int, int] = PROFILE_INPUT) -> dict[str, Any]:
    """A space's choices, how many networks it holds, and the cost of its smallest and largest."""
    return {
        "about": space.about,
        "choices": {gene.path: list(gene.values) for gene in space.genes},
        "ordered": [gene.path for gene in space.genes if gene.ordered],
        "size": space.size,
        "smallest": _extreme(space, input, -1),
        "largest": _extreme(space, input, +1),
    }


def _extreme(space: SearchSpace, input: tuple[int, int], way: Literal[-1, 1]) -> dict[str, int]:
    """The cost of the network with the least (-1) or most (+1) MACs that changing gene after gene leads to."""

    @cache
    def reached(genome: Genome) -> tuple[int, int]:
        cost = _count(space.decode(genome), input)
        return way * cost["macs"], way * cost["params"]

    genome = tuple(0 if way < 0 else gene.size - 1 for gene in space.genes)
    best, before = reached(genome), None
    while best != before:
        before = best
        for index, gene in enumerate(space.genes):
            steps = [(*genome[:index], value, *genome[index + 1 :]) for value in range(gene.size)]
            genome = max(steps, key=reached)
        best = reached(genome)
    macs, params = best
    return {"params": way * params, "macs": way * macs}


def explain_architecture(architecture: Architecture) -> dict[str, Any]:
    """An architecture's tree, key and cost."""
    from hrnas.nets.cost import cost_as_json

    return {
        "key": architecture.key,
        "cost": cost_as_json(_measure(architecture, PROFILE_INPUT)),
        "architecture": architecture.tree(),
    }


def explain_recipe(recipe: Recipe) -> dict[str, Any]:
    """A recipe with everything filled in."""
    return {"fingerprint": recipe.fingerprint, "data_label": recipe.data.label, **recipe.model_dump(mode="json")}


def explain_study(card: StudyCard) -> dict[str, Any]:
    """A study with everything filled in, its space in short, and how much will be trained."""
    recipe = load_recipe(card.trainer).with_changes(data=card.data, input=card.input)
    space = explain_space(load_space(card.space), recipe.input)
    return {
        **card.model_dump(mode="json"),
        "data": recipe.data.label,
        "input": format_size(recipe.input),
        "space_size": space["size"],
        "smallest": space["smallest"],
        "largest": space["largest"],
        "epochs": expected_epochs(card),
    }


def _count(architecture: Architecture, input: tuple[int, int]) -> dict[str, int]:
    """Parameters and MACs."""
    cost = _measure(architecture, input)
    return {"params": cost.params, "macs": cost.macs}


def _measure(architecture: Architecture, input: tuple[int, int]) -> Cost:
    """With 17 keypoints."""
    from hrnas.nets.cost import measure_cost

    return measure_cost(architecture, keypoints=17, input=input)
