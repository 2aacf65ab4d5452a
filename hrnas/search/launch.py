"""Run a study from its card: card -> space, recipe, data, evaluators -> trials."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrnas.cards.study import COSTS, StudyCard
from hrnas.cards.trainer import Recipe, load_recipe
from hrnas.names import CARD_FILE
from hrnas.reading import read_yaml, validate
from hrnas.search.repeat import Repeated, repeat_trial
from hrnas.search.study import Event, Result, run_study
from hrnas.search.worker import Beat
from hrnas.space.architecture import Architecture
from hrnas.space.search_space import load_space

if TYPE_CHECKING:
    from hrnas.training.proxy import ProxyTrainer


def launch(card: StudyCard, runs: Path, data: Path | None, on_event: Callable[[Event], None]) -> tuple[Path, Result]:
    """Run a study, or go on with it.

    Args:
        runs: where run folders lie; this study's is `runs/<name>`.
        data: a folder of pictures in COCO's layout to use instead of the card's.

    Returns:
        The run folder, and how the search ended.

    Raises:
        UserError: a card, the data or the folder is not as it must be; then nothing was written.
    """
    from hrnas.nets.cost import measure_cost

    if data is not None:  # only the folder changes: how much is held out and learnt from is as the trainer card says
        card = card.with_changes(data=study_recipe(card).at(data).data.model_dump(mode="json"))
    space, recipe = load_space(card.space), study_recipe(card)
    trainer = _make_trainer(card, recipe)  # before anything is written: a mistake in the data leaves no folder behind

    def count_cost(architecture: Architecture) -> dict[str, float]:
        cost = asdict(measure_cost(architecture, trainer.keypoints, recipe.input))
        return {name: cost[name] for name in COSTS}

    folder = runs / card.name
    result = run_study(
        card,
        space,
        folder,
        {"proxy": trainer},
        count_cost,
        on_event,
        recipe=recipe,
        environment=describe_environment(),
    )
    return folder, result


def repeat(folder: Path, key: str, seeds: Sequence[int], on_progress: Beat) -> Repeated:
    """Measure a trial of a study again with other seeds; see `repeat_trial`.

    Args:
        folder: the run folder.

    Raises:
        UserError: no such trial, or a card or the data is not as it must be or has changed since.
    """
    card = validate(StudyCard, read_yaml(folder / CARD_FILE), str(folder / CARD_FILE))
    recipe = study_recipe(card)
    trainer = _make_trainer(card, recipe)
    return repeat_trial(card, folder, key, seeds, {"proxy": trainer}, recipe, on_progress)


def _make_trainer(card: StudyCard, recipe: Recipe) -> ProxyTrainer:
    from hrnas.training.loop import pick_device
    from hrnas.training.proxy import ProxyTrainer

    return ProxyTrainer(recipe, card.ladder, pick_device())


def study_recipe(card: StudyCard) -> Recipe:
    """The trainer card of a study, with the study's own data and input where it names them."""
    return load_recipe(card.trainer).with_changes(data=card.data, input=card.input)


def describe_environment() -> dict[str, Any]:
    """The machine and the versions that a score came from."""
    packages = ("hrnas", "torch", "numpy", "optuna", "opencv-python-headless")
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": _threads(),
        "packages": versions,
        "commit": _commit(),
    }


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _commit() -> str:
    """The checkout's commit, `+` where files differ from it; empty where hrnas is not run from a checkout."""
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
