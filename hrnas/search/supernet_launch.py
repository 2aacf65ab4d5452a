"""Train a study's supernet from what a person says: card -> space, recipe, data -> shared weights in the run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrnas.names import SUPERNET_FOLDER
from hrnas.reading import UserError
from hrnas.search.launch import find_card_or_study, study_recipe, supernet_recipe
from hrnas.search.study import published_points
from hrnas.space.search_space import load_space

if TYPE_CHECKING:
    from hrnas.training.loop import OnProgress
    from hrnas.training.ranks import Ranks


def launch_supernet(
    study: str,
    runs: Path | None,
    data: Path | None,
    ranks: Ranks,
    on_progress: OnProgress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Path, dict[str, Any]]:
    """Train the supernet of a study card, or of a study that was begun.

    Args:
        data: a folder of pictures in COCO's layout to use instead of the card's.

    Returns:
        The supernet's folder, and what its supernet.json says.

    Raises:
        UserError: no such card, it asks for no supernet, or something in it or in the data is not as it must be.
    """
    from hrnas.training.loop import pick_device
    from hrnas.training.supernet_run import train_supernet

    folder, card = find_card_or_study(study, runs)
    if card.supernet is None:
        raise UserError(f"{card.name}: the card has no section supernet; write supernet: {{trainer: NAME}} into it")
    recipe = study_recipe(card) if data is None else study_recipe(card).at(data)
    space = load_space(card.space)
    about = train_supernet(
        space,
        card.supernet,
        supernet_recipe(card, recipe),
        folder / SUPERNET_FOLDER,
        published_points(card, space),
        pick_device(),
        on_progress,
        ranks,
        stop,
    )
    return folder / SUPERNET_FOLDER, about
