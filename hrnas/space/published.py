"""The published points: architectures from papers, each on a card with the paper's printed figures."""

from __future__ import annotations

from pathlib import Path

from hrnas.reading import UserError, read_yaml, validate
from hrnas.shelf import find_card, list_cards
from hrnas.space.architecture import Architecture, PublishedPoint


def published_names() -> list[str]:
    """The names of all published points, as `published/lite_hrnet_18`."""
    return [name for name in list_cards("search_spaces") if name.startswith("published/")]


def load_point(name: str) -> PublishedPoint:
    """Read a published point by its name or its file.

    Raises:
        UserError: no such card, or mistakes in it (all at once).
    """
    path = find_card("search_spaces", name)
    return validate(PublishedPoint, {"name": path.stem, **read_yaml(path)}, str(path))


def load_architecture(name: str) -> Architecture:
    """Read an architecture: a published point's name, or a YAML file with an `architecture` (or nothing but one).

    Raises:
        UserError: no such file or point, or mistakes in it (all at once).
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        name = _published_name(name)
    path = find_card("search_spaces", name)
    tree = read_yaml(path)
    if "choices" in tree:
        raise UserError(f"{path}: this is a search space; an architecture is wanted, such as published/lite_hrnet_18")
    return Architecture.from_tree(tree.get("architecture", tree), source=str(path))


def _published_name(name: str) -> str:
    """`lite_hrnet_18` for `published/lite_hrnet_18`, where that is meant."""
    names = list_cards("search_spaces")
    return f"published/{name}" if name not in names and f"published/{name}" in names else name
