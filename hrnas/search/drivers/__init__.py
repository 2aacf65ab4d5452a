"""Drivers propose genomes and hear what became of them. A driver is one file, and one line in the table `DRIVERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hrnas.cards.study import StudyCard
from hrnas.reading import UserError
from hrnas.search.drivers.driver import Ask, Costs, Driver, Space, Told, seed_of_ask

__all__ = ["DRIVERS", "Ask", "Costs", "Driver", "Space", "Told", "make_driver", "seed_of_ask"]


def _random(card: StudyCard, space: Space, costs: Costs | None) -> Driver:
    from hrnas.search.drivers.random_driver import RandomDriver

    return RandomDriver(space)


def _evolution(card: StudyCard, space: Space, costs: Costs | None) -> Driver:
    from hrnas.search.drivers.evolution_driver import EvolutionDriver

    assert card.driver.kind == "evolution"
    driver = card.driver
    return EvolutionDriver(space, card.goals, driver.population, driver.sample, driver.crossover)


def _local(card: StudyCard, space: Space, costs: Costs | None) -> Driver:
    from hrnas.search.drivers.local_driver import LocalDriver

    assert card.driver.kind == "local"
    return LocalDriver(space, card.goals, card.driver.startup)


def _model(card: StudyCard, space: Space, costs: Costs | None) -> Driver:
    from hrnas.search.drivers.model_driver import ModelDriver

    assert card.driver.kind == "model"
    driver = card.driver
    return ModelDriver(space, card.goals, card.reference, card.limits, costs, driver.startup, driver.candidates)


def _optuna(card: StudyCard, space: Space, costs: Costs | None) -> Driver:
    from hrnas.search.drivers.optuna_driver import OptunaDriver

    assert card.driver.kind == "optuna"
    driver = card.driver
    return OptunaDriver(space, card.goals, driver.sampler, driver.population, driver.startup)


def _nni(card: StudyCard, space: Space, costs: Costs | None) -> Driver:
    assert card.driver.kind == "nni"
    driver = card.driver
    try:
        from hrnas.search.drivers.nni_driver import NniDriver
    except ModuleNotFoundError as error:
        raise UserError(f"driver.kind: nni needs the package {error.name}: pip install 'hrnas[nni]'") from None
    weights = {goal: driver.weights.get(goal, 1.0 if way == "maximize" else 0.07) for goal, way in card.goals.items()}
    sizes = (driver.population, driver.sample, driver.startup)
    return NniDriver(space, card.goals, driver.tuner, weights, driver.targets, *sizes)


DRIVERS: Mapping[str, Callable[[StudyCard, Space, Costs | None], Driver]] = {
    "random": _random,
    "evolution": _evolution,
    "local": _local,
    "model": _model,
    "optuna": _optuna,
    "nni": _nni,
}


def make_driver(card: StudyCard, space: Space, costs: Costs | None = None) -> Driver:
    """The driver that a study's card asks for; it knows nothing yet.

    Args:
        costs: what a genome's network costs, for drivers that look before they ask; all costs that are goals or limits.

    Raises:
        UserError: the driver cannot do what the card asks.
    """
    driver = DRIVERS[card.driver.kind](card, space, costs)
    if card.driver.kind == "model" or not card.driver.predictor:
        return driver
    from hrnas.search.drivers.model_driver import ModelDriver
    from hrnas.search.drivers.screened_driver import ScreenedDriver

    judge = ModelDriver(space, card.goals, card.reference, card.limits, costs, startup=1, candidates=1)
    return ScreenedDriver(driver, judge)
