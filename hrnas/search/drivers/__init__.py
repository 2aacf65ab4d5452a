"""Drivers propose genomes and hear what became of them. A driver is one file, and one line in the table `DRIVERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hrnas.cards.study import StudyCard
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


DRIVERS: Mapping[str, Callable[[StudyCard, Space], Driver]] = {"random": _random, "optuna": _optuna}


def make_driver(card: StudyCard, space: Space) -> Driver:
    """The driver that a study's card asks for; it knows nothing yet."""
    return DRIVERS[card.driver.kind](card, space)
