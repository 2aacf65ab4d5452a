"""Check a study's ranking from what a person says: card -> space, recipe, data, evaluators -> rows -> a document."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from hrnas.cards.study import COSTS, Rung, StudyCard
from hrnas.cards.trainer import Recipe
from hrnas.names import SUPERNET_FILE, SUPERNET_FOLDER
from hrnas.search.launch import ask_supernet, describe_environment, find_card_or_study, study_recipe
from hrnas.search.rank_rows import read_table
from hrnas.search.rankcheck import OnUnit, budgets_of, check_ranking, is_one_training, shares_of
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

    folder, card = find_card_or_study(study, runs)
    if data is not None:
        card = card.with_changes(data=study_recipe(card).at(data).data.model_dump(mode="json"))
    space, recipe = load_space(card.space), study_recipe(card)
    recorded = None if table is None else read_table(table, space, shares_of)
    evaluators, keypoints = _evaluators(card, recipe, folder, table)

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
            table=recorded,
            on_unit=on_unit,
        )
    finally:
        ledger.close()
    return folder, document


def _evaluators(card: StudyCard, recipe: Recipe, folder: Path, table: Path | None) -> tuple[dict[str, Evaluator], int]:
    """What trains the proxies, what trains the reference in one go, what asks the supernet where one is trained; and
    the number of keypoints."""
    from hrnas.training.loop import pick_device
    from hrnas.training.proxy import ProxyTrainer

    trained = (folder / SUPERNET_FOLDER / SUPERNET_FILE).is_file()
    asks = card.supernet is not None and (trained or card.init == "supernet")
    if table is not None and not asks:
        return {}, 0
    *proxies, reference = (Rung(epochs=epochs) for epochs in budgets_of(card, recipe))
    long = ProxyTrainer(recipe, [reference], pick_device())
    found: dict[str, Evaluator] = {}
    if table is None:
        proxy = long.on_ladder([*proxies, *([reference] if is_one_training(card, recipe) else [])])
        found |= {"proxy": proxy, "reference": long}
    if asks:
        found["inherited"] = inherited = ask_supernet(card, recipe, folder, long)
        if table is None and card.init == "supernet":
            proxy.start_from(inherited)
    return found, long.keypoints
