"""Run a study from its card: card -> space, recipe, data, evaluators -> trials."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hrnas.cards.study import COSTS, StudyCard, load_study
from hrnas.cards.trainer import Recipe, load_recipe
from hrnas.names import CARD_FILE, find_study, runs_folder
from hrnas.reading import UserError, read_yaml, validate
from hrnas.search.repeat import Repeated, repeat_trial
from hrnas.search.study import Event, Result, run_study
from hrnas.search.worker import Beat, Evaluator
from hrnas.space.architecture import Architecture
from hrnas.space.search_space import SearchSpace, load_space

if TYPE_CHECKING:
    from hrnas.search.nni.engine import NniTrials
    from hrnas.training.inherited import SupernetEvaluator
    from hrnas.training.proxy import ProxyTrainer


def launch(
    card: StudyCard,
    runs: Path,
    data: Path | None,
    on_event: Callable[[Event], None],
    engine: Literal["own", "nni"] = "own",
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Path, Result]:
    """Run a study, or go on with it.

    Args:
        runs: where run folders lie; this study's is `runs/<name>`.
        data: a folder of pictures in COCO's layout to use instead of the card's.
        engine: what runs the evaluations: this process, or NNI's experiment manager.
        say: hears where NNI's page is.

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
        cost = measure_cost(architecture, trainer.keypoints, recipe.input)
        return {name: getattr(cost, name) for name in COSTS}

    folder = runs / card.name
    evaluators = make_evaluators(card, recipe, folder, trainer)
    with ExitStack() as stack:
        if engine == "nni":
            through_nni = stack.enter_context(_nni_trials(card.name, space, folder, count_cost, say))
            # what costs is known in an instant, and is no trial to look at
            evaluators = {name: own if name == "cost" else through_nni for name, own in evaluators.items()}
        result = run_study(
            card,
            space,
            folder,
            evaluators,
            count_cost,
            on_event,
            recipe=recipe,
            environment=describe_environment(),
        )
    return folder, result


def _nni_trials(
    name: str,
    space: SearchSpace,
    folder: Path,
    count_cost: Callable[[Architecture], Mapping[str, float]],
    say: Callable[[str], None],
) -> NniTrials:
    try:
        from hrnas.search.nni.engine import NniTrials
    except ModuleNotFoundError as error:
        raise UserError(f"--engine nni needs the package {error.name}: pip install 'hrnas[nni]'") from None
    return NniTrials(name, space, folder, count_cost, say)


def make_evaluators(
    card: StudyCard, recipe: Recipe, folder: Path, trainer: ProxyTrainer | None = None
) -> dict[str, Evaluator]:
    """What measures on the rungs of a study's ladder, by fidelity.

    Args:
        folder: the run folder, where the study's supernet lies.

    Raises:
        UserError: the study asks a supernet that is not trained yet, or is one of another space.
    """
    from hrnas.training.zero_cost import CostEvaluator, ZeroCostEvaluator

    trainer = trainer or _make_trainer(card, recipe)
    evaluators: dict[str, Evaluator] = {
        "cost": CostEvaluator(trainer.keypoints, recipe.input),
        "zero_cost": ZeroCostEvaluator(trainer.keypoints, recipe.input),
        "proxy": trainer,
    }
    if card.init == "supernet" or any(rung.fidelity == "inherited" for rung in card.ladder):
        inherited = ask_supernet(card, recipe, folder, trainer)
        evaluators["inherited"] = inherited
        if card.init == "supernet":
            trainer.start_from(inherited)
    return evaluators


def ask_supernet(card: StudyCard, recipe: Recipe, folder: Path, trainer: ProxyTrainer) -> SupernetEvaluator:
    """What scores networks with the weights of a study's supernet, on the trainer's held-out people.

    Raises:
        UserError: the supernet is not trained yet, or is one of another space.
    """
    from hrnas.training.inherited import SupernetEvaluator

    assert card.supernet is not None
    space, learnt = load_space(card.space), supernet_recipe(card, recipe)
    return SupernetEvaluator(folder, space, card.supernet, learnt, trainer.sources, trainer.device)


def open_supernet(study: str, runs: Path | None) -> SupernetEvaluator:
    """The supernet of a study that was begun, with the study's own data.

    Raises:
        UserError: no such study, it has no supernet, or a card or the data is not as it must be.
    """
    folder, card = find_card_or_study(study, runs)
    if card.supernet is None:
        raise UserError(f"{card.name}: the card has no section supernet, so there are no weights to start from")
    recipe = study_recipe(card)
    return ask_supernet(card, recipe, folder, _make_trainer(card, recipe))


def supernet_recipe(card: StudyCard, recipe: Recipe) -> Recipe:
    """The trainer card of a study's supernet, with the data and the input that the study's proxies have."""
    assert card.supernet is not None
    return load_recipe(card.supernet.trainer).with_changes(data=recipe.data, input=recipe.input)


def find_card_or_study(study: str, runs: Path | None) -> tuple[Path, StudyCard]:
    """The run folder and the card of a study that was begun, by its name or folder; else those of a card.

    Raises:
        UserError: there is neither.
    """
    try:
        folder = find_study(study, runs)
    except UserError as unknown:
        try:
            card = load_study(study)
        except UserError as error:
            raise error if Path(study).is_file() else UserError(f"{unknown}\n{error}") from None
        return runs_folder(runs) / card.name, card
    return folder, validate(StudyCard, read_yaml(folder / CARD_FILE), str(folder / CARD_FILE))


def repeat(folder: Path, key: str, seeds: Sequence[int], on_progress: Beat) -> Repeated:
    """Measure a trial of a study again with other seeds; see `repeat_trial`.

    Args:
        folder: the run folder.

    Raises:
        UserError: no such trial, or a card or the data is not as it must be or has changed since.
    """
    card = validate(StudyCard, read_yaml(folder / CARD_FILE), str(folder / CARD_FILE))
    recipe = study_recipe(card)
    return repeat_trial(card, folder, key, seeds, make_evaluators(card, recipe, folder), recipe, on_progress)


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
