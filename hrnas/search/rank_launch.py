"""Check a study's ranking from what a person says: card -> space, recipe, data, evaluators -> rows -> a document."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hrnas.cards.study import COSTS, Rung, StudyCard
from hrnas.cards.trainer import Recipe
from hrnas.names import SUPERNET_FILE, SUPERNET_FOLDER
from hrnas.reading import UserError
from hrnas.search.launch import ask_supernet, describe_environment, find_card_or_study, study_recipe
from hrnas.search.rank_rows import read_table
from hrnas.search.rankcheck import OnUnit, budgets_of, check_ranking, is_one_training, shares_of
from hrnas.search.study import open_study
from hrnas.search.worker import Evaluator
from hrnas.space.architecture import Architecture
from hrnas.space.search_space import load_space

if TYPE_CHECKING:
    from hrnas.training.proxy import ProxyTrainer

CROPS = 8  # that zero-cost scores look at


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
    missing: list[str] = []
    try:
        evaluators, keypoints = _evaluators(card, recipe, folder, trains=table is None)
    except UserError as error:
        if table is None:
            raise
        evaluators, keypoints = {}, 0  # a table says enough where there are no pictures
        missing = [f"zero-cost and inherited scores: {error}"]

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
            missing=missing,
            on_unit=on_unit,
        )
    finally:
        ledger.close()
    return folder, document


def _evaluators(card: StudyCard, recipe: Recipe, folder: Path, trains: bool) -> tuple[dict[str, Evaluator], int]:
    """What measures, by fidelity: the supernet where one is trained, and what trains if wanted.

    Returns:
        the evaluators, and the number of keypoints.
    """
    from hrnas.training.loop import pick_device
    from hrnas.training.proxy import ProxyTrainer
    from hrnas.training.zero_cost import ZeroCostEvaluator

    *proxies, reference = (Rung(epochs=epochs) for epochs in budgets_of(card, recipe))
    long = ProxyTrainer(recipe, [reference], pick_device())
    proxy = long.on_ladder([*proxies, *([reference] if is_one_training(card, recipe) else [])])
    found: dict[str, Evaluator] = {"zero_cost": ZeroCostEvaluator(long.keypoints, recipe.input, _some_crops(long))}
    if trains:
        found |= {"proxy": proxy, "reference": long}
    trained = (folder / SUPERNET_FOLDER / SUPERNET_FILE).is_file()
    if card.supernet is not None and (trained or card.init == "supernet"):
        found["inherited"] = inherited = ask_supernet(card, recipe, folder, long)
        if card.init == "supernet":
            proxy.start_from(inherited)
    return found, long.keypoints


def _some_crops(trainer: ProxyTrainer) -> np.ndarray:
    """The first persons to learn from, as networks see them: uint8 (crops, height, width, 3)."""
    from hrnas.pose.batches import Batches
    from hrnas.pose.codecs import make_codec
    from hrnas.training.proxy import open_pixels

    recipe, persons = trainer.recipe, len(trainer.sources.train)
    people = trainer.sources.train.take(np.arange(min(CROPS, persons - persons % 2)))  # they are taken in halves
    batches = Batches(people, open_pixels(people, recipe), make_codec(recipe.codec, recipe.input), len(people))
    return next(batches.epoch()).images
