"""Find a card by its name: the user's folder first, then the cards that hrnas ships.

A shelf is a folder of YAML cards: `search_spaces/`, `trainers/`, `studies/`. In a checkout they lie at its top, in an
installed wheel inside the package; a folder of the same name where the user works comes before both.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from hrnas.reading import UserError

SHELVES = ("search_spaces", "trainers", "studies")

_PACKAGE = Path(__file__).resolve().parent


def shelf_folders(shelf: str) -> list[Path]:
    """The folders a shelf consists of, nearest first; only those that exist, none twice."""
    shipped = _PACKAGE / "_shelves" / shelf
    candidates = [Path.cwd() / shelf, shipped if shipped.is_dir() else _PACKAGE.parent / shelf]
    return [folder for folder in dict.fromkeys(c.resolve() for c in candidates) if folder.is_dir()]


def list_cards(shelf: str) -> dict[str, Path]:
    """Every card of a shelf by its name (`published/lite_hrnet_18`), sorted; a user's card hides a shipped one."""
    found: dict[str, Path] = {}
    for folder in shelf_folders(shelf):
        for path in sorted(folder.rglob("*.yaml")):
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return dict(sorted(found.items()))


def find_card(shelf: str, name: str) -> Path:
    """The file of a card: a path (`studies/quickstart.yaml`) or a name (`quickstart`, `studies/quickstart`).

    Raises:
        UserError: there is no such card; the nearest names are suggested.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        name = path.with_suffix("").as_posix()
    name = name.removeprefix(f"{shelf}/")
    cards = list_cards(shelf)
    if name in cards:
        return cards[name]
    near = difflib.get_close_matches(name, cards, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(cards) or 'none'}"
    raise UserError(f"no card '{name}' in {shelf}; {hint}")
