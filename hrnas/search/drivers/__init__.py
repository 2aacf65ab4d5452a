"""Drivers propose genomes and hear what became of them. A driver is one file, and one line in the table `DRIVERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hrnas.cards.study import StudyCard
from hrnas.reading import UserError
from hrnas.search.drivers.driver import Ask, Driver, Space, Told, seed_of_ask

__all__ = ["DRIVERS", "Ask", "Driver", "Space", "Told", "make_driver", "seed_of_ask"]


def _random(card: StudyCard, space: Space) -> Driver:
    from hrnas.search.drivers.random_driver import RandomDriver

    return RandomDriver(space)


def _optuna(card: StudyCard, space: Space) -> Driver:
    from hrnas.search.drivers.optuna_driver import OptunaDriver

    assert card.driver.kind == "optuna"
    driver = card.driver
    return OptunaDriver(space, card.goals, driver.sampler, driver.population, driver.startup)


def _nni(card: StudyCard, space: Space) -> Driver:
    assert card.driver.kind == "nni"
    driver = card.driver
    try:
        from hrnas.search.drivers.nni_driver import NniDriver
    except ModuleNotFoundError as error:
        raise UserError(f"driver.kind: nni needs the package {error.name}: pip install 'hrnas[nni]'") from None
    weights = {goal: driver.weights.get(goal, 1.0 if way == "maximize" else 0.07) for goal, way in card.goals.items()}
    sizes = (driver.population, driver.sample, driver.startup)
    return NniDriver(space, card.goals, driver.tuner, weights, driver.targets, *sizes)


DRIVERS: Mapping[str, Callable[[StudyCard, Space], Driver]] = {"random": _random, "optuna": _optuna, "nni": _nni}


def make_driver(card: StudyCard, space: Space) -> Driver:
    """The driver that a study's card asks for; it knows nothing yet."""
    return DRIVERS[card.driver.kind](card, space)
