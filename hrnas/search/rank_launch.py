"""Check a study's ranking from what a person says: card -> space, recipe, data, evaluators -> rows -> a document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hrnas.cards.study import COSTS, Rung, StudyCard, load_study
from hrnas.cards.trainer import Recipe
from hrnas.names import CARD_FILE, find_study, runs_folder
from hrnas.reading import UserError, read_yaml, validate
from hrnas.search.launch import describe_environment, study_recipe
from hrnas.search.rankcheck import OnUnit, budgets_of, check_ranking
from hrnas.search.study import open_study
from hrnas.search.worker import Evaluator
from hrnas.space.architecture import Architecture
from hrnas.space.search_space import load_space


def launch_rankcheck(
    study: str,
    runs: Path | None,
    data: Path | None,
    *,
    count: int | None = None,
    seeds: int = 2,
    table: Path | None = None,
    on_unit: OnUnit = lambda done, total: None,
) -> tuple[Path, dict[str, Any]]:
    """Check the ranking of a study that was begun, or of a card: then its run folder is made, for the search to go on.

    Args:
        data: a folder of pictures in COCO's layout to use instead of the card's.

    Returns:
        The run folder, and the document of `check_ranking`.

    Raises:
        UserError: no such study or card, or something in them, in the data or in the table is not as it must be.
    """
    from hrnas.nets.cost import measure_cost

    folder, card = _find(study, runs)
    if data is not None:
        card = card.with_changes(data=study_recipe(card).at(data).data.model_dump(mode="json"))
    space, recipe = load_space(card.space), study_recipe(card)
    evaluators, keypoints = ({}, 0) if table is not None else _trainers(card, recipe)

    def count_cost(architecture: Architecture) -> dict[str, float]:
        cost = asdict(measure_cost(architecture, keypoints, recipe.input))
        return {name: cost[name] for name in COSTS}

    ledger = open_study(card, space, recipe, folder, describe_environment())
    try:
        document = check_ranking(
            card,
            space,
            recipe,
            folder,
            ledger,
            evaluators,
            count_cost,
            count=count,
            seeds=seeds,
            table=table,
            on_unit=on_unit,
        )
    finally:
        ledger.close()
    return folder, document


def _find(study: str, runs: Path | None) -> tuple[Path, StudyCard]:
    """A study that was begun, by its name or folder; else a card."""
    try:
        folder = find_study(study, runs)
    except UserError as unknown:
        try:
            card = load_study(study)
        except UserError as error:
            raise error if Path(study).is_file() else UserError(f"{unknown}\n{error}") from None
        return runs_folder(runs) / card.name, card
    return folder, validate(StudyCard, read_yaml(folder / CARD_FILE), str(folder / CARD_FILE))


def _trainers(card: StudyCard, recipe: Recipe) -> tuple[Mapping[str, Evaluator], int]:
    """What trains the proxies, what trains the reference in one go, and the number of keypoints."""
    from hrnas.training.loop import pick_device
    from hrnas.training.proxy import ProxyTrainer

    *proxies, reference = (Rung(epochs=epochs) for epochs in budgets_of(card, recipe))
    long = ProxyTrainer(recipe, [reference], pick_device())
    pieces = recipe.schedule.kind == "constant"
    proxy = long.on_ladder([*proxies, *([reference] if pieces else [])])
    return {"proxy": proxy, "reference": long}, long.keypoints
